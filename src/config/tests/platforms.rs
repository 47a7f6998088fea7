//! What each platform brings into the configuration: its variables, its own settings, and what makes an account.

use super::*;

#[test]
fn every_platform_whose_key_is_set_is_watched() {
    let config = from_environment(&[
        ("EVERRUNS_API_KEY", "evr_pat_1"),
        ("EVERRUNS_API_URL", "https://runs.example/api/"),
        ("EVERRUNS_ORG_ID", "org_1"),
        ("HAI_API_KEY", "hk-1"),
    ])
    .expect("config");
    let [h, everruns] = &config.sources[..] else { panic!("two sources") };
    assert_eq!((h.name.as_str(), everruns.name.as_str()), ("hcompany", "everruns"));
    assert_eq!(everruns.base_url.as_str(), "https://runs.example/api");
    assert_eq!(everruns.settings["organization_id"], "org_1");
    assert_eq!(everruns.settings["abandon_turns_after"], "86400");
    assert_eq!(key(&config, 1), "evr_pat_1");

    let alone = from_environment(&[("EVERRUNS_API_KEY", "evr_pat_1")]).expect("config");
    assert_eq!(alone.sources.len(), 1);
    assert_eq!(alone.sources[0].base_url.as_str(), "https://app.everruns.com/api");
    let error = from_environment(&[("EVERRUNS_API_KEY", "k"), ("EVERRUNS_ORG_ID", "a b")]).expect_err("problem");
    assert!(error.to_string().contains("EVERRUNS_ORG_ID: not an id"), "{error}");
}

#[test]
fn settings_belong_to_their_platform() {
    let everruns = "sources:\n- platform: everruns\n  api_key: k\n  organization_id: org_1\n  llm_generation: skip\n  \
                    abandon_turns_after: 2h\n";
    let config = Case::new(everruns).config();
    let settings = &config.sources[0].settings;
    assert_eq!((settings["llm_generation"].as_str(), settings["abandon_turns_after"].as_str()), ("skip", "7200"));

    let wrong = "sources:\n- platform: everruns\n  api_key: k\n  owner: me\n  llm_generation: maybe\n  \
                 abandon_turns_after: 5\n- platform: hcompany\n  api_key: k\n  organization_id: org_1\n";
    insta::assert_snapshot!(Case::new(wrong).error());
}

#[test]
fn one_key_may_watch_several_organizations_each_once() {
    let source = |name: &str, organization: &str| {
        format!("- {{name: {name}, platform: everruns, api_key: k, organization_id: {organization}}}\n")
    };
    let two = format!("sources:\n{}{}", source("a", "org_1"), source("b", "org_2"));
    assert_eq!(Case::new(&two).config().sources.len(), 2);
    let twice = format!("sources:\n{}{}", source("a", "org_1"), source("b", "org_1"));
    assert!(Case::new(&twice).error().contains("watches the same account"));
}
