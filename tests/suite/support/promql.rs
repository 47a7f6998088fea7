//! Expressions of dashboards and rules, held to the catalogue.

use agent_session_exporter::views::catalog::{self, Type};
use promql_parser::label::Matcher;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

/// An expression parses and asks for nothing that is not in the catalogue, or `recorded` by rules beside it; where a
/// metric has a label that is filtered by, the filter is there.
pub fn judge(expression: &str, filters: &[(&str, &str)], recorded: &[&str], wrong: &mut impl FnMut(String)) {
    let parsed = match parser::parse(expression) {
        Ok(parsed) => parsed,
        Err(error) => return wrong(format!("does not parse: {error}: {expression}")),
    };
    let aggregates = collect(&parsed, |it| match it {
        Expr::Aggregate(aggregate) => Some(aggregate.clone()),
        _ => None,
    });
    for selector in selectors(&parsed) {
        let Some(name) = &selector.name else {
            wrong(format!("a selector with no name: {selector}"));
            continue;
        };
        if recorded.contains(&name.as_str()) {
            continue;
        }
        let Some(labels) = labels(name) else {
            wrong(format!("no metric `{name}`"));
            continue;
        };
        let or = selector.matchers.or_matchers.iter().flatten();
        for Matcher { name: label, .. } in selector.matchers.matchers.iter().chain(or) {
            if !labels.contains(&label.as_str()) {
                wrong(format!("`{name}` has no label `{label}`"));
            }
        }
        for (variable, word) in filters {
            let filter = format!("{variable}=~\"{word}\"");
            let is_there = selector.matchers.matchers.iter().any(|matcher| matcher.to_string() == filter);
            if labels.contains(variable) && !is_there {
                wrong(format!("`{name}` is not filtered by {variable}=~\"${variable}\""));
            }
        }
    }
    for aggregate in aggregates {
        let Some(LabelModifier::Include(kept)) = &aggregate.modifier else { continue };
        for selector in selectors(&aggregate.expr) {
            let name = selector.name.unwrap_or_default();
            if recorded.contains(&name.as_str()) {
                continue;
            }
            let labels = labels(&name).unwrap_or_default();
            for label in kept.labels.iter().filter(|label| !labels.contains(&label.as_str())) {
                wrong(format!("`{name}` has no label `{label}` to aggregate by"));
            }
        }
    }
}

/// The labels of the series with this name; `None` where no page has such series.
fn labels(series: &str) -> Option<Vec<&'static str>> {
    if let Some(row) = catalog::find(series) {
        // Only Prometheus' protobuf has a histogram under its bare name.
        return (row.kind != Type::Histogram).then(|| row.labels.to_vec());
    }
    let parts = ["_bucket", "_sum", "_count"];
    let (family, part) = parts.iter().find_map(|part| Some((series.strip_suffix(part)?, *part)))?;
    let row = catalog::find(family).filter(|row| row.kind == Type::Histogram)?;
    let le = (part == "_bucket").then_some("le");
    Some(row.labels.iter().copied().chain(le).collect())
}

fn selectors(expression: &Expr) -> Vec<VectorSelector> {
    collect(expression, |it| match it {
        Expr::VectorSelector(selector) => Some(selector.clone()),
        Expr::MatrixSelector(matrix) => Some(matrix.vs.clone()),
        _ => None,
    })
}

/// What `pick` takes of an expression and all within it.
fn collect<T>(expression: &Expr, pick: impl Fn(&Expr) -> Option<T>) -> Vec<T> {
    struct Walk<T, F>(Vec<T>, F);
    impl<T, F: Fn(&Expr) -> Option<T>> ExprVisitor for Walk<T, F> {
        type Error = std::convert::Infallible;
        fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
            self.0.extend((self.1)(expression));
            Ok(true)
        }
    }
    let mut walk = Walk(Vec::new(), pick);
    let Ok(_) = walk_expr(&mut walk, expression);
    walk.0
}
