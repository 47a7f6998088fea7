// Has TypeScript compare the dashboards, and the data source that is provisioned for them, with Grafana's own types.
//
//   node tests/grafana/types.mjs [DASHBOARD.json ...]
//
// Judged are the dashboards that are given, or all in dashboards/. Each becomes a module in which every panel is a
// constant of its plugin's type. Broken ones are judged along, and each must be refused: a check that lets everything
// pass is none. Needs npm, tar, and a package index once; what comes from there is kept below target/.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { breaches, broken, sound } from "./breaches.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../..");
const work = path.join(root, "target/grafana-types");
// Themselves only: the types that are used need none of what these need to run.
const PACKAGES = {
  "@grafana/data": "13.2.3",
  "@grafana/prometheus": "13.2.3",
  "@grafana/schema": "13.2.3",
  typescript: "5.9.3",
  yaml: "2.9.1",
};
const SOURCES = "config/grafana/provisioning/datasources/agent-sessions.yaml";
const PLUGINS = "node_modules/@grafana/schema/dist/types/raw/composable";

const read = (file) => readFileSync(file, "utf8");

function unpack(name, version) {
  const folder = path.join(work, "node_modules", name);
  const complete = path.join(folder, `.${version}`);
  if (existsSync(complete)) return;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const options = { cwd: work, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] };
  const archive = path.join(work, execFileSync("npm", ["pack", "--silent", `${name}@${version}`], options).trim());
  execFileSync("tar", ["-xzf", archive, "--strip-components=1", "-C", folder], options);
  rmSync(archive);
  writeFileSync(complete, "");
}

/** Units have no type: these are the ids in the table that Grafana shows values by, and its forms for one's own. */
function units() {
  const table = read(path.join(work, "node_modules/@grafana/data/dist/esm/valueFormats/categories.mjs"));
  const ids = [...table.matchAll(/^\s*id: ("[^"]+"),?$/gm)].map(([, id]) => id);
  if (ids.length < 200) throw new Error(`only ${ids.length} units found: Grafana writes its table in another way now`);
  const own = ["count", "currency", "prefix", "si", "suffix", "time"].map((kind) => `\`${kind}:\${string}\``);
  return `export type Unit = ${[...ids, ...own].join(" | ")};\n`;
}

/** The constants of a module: what each is called in a message, its type, and its value. */
function* constants(dashboard) {
  const { panels = [], ...rest } = dashboard;
  yield ["the dashboard", "shapes.Dashboard", rest];
  for (const panel of panels) {
    const { panels: inner = [], ...row } = panel;
    if (panel.type === "row") yield [named(row), "shapes.Row", { ...row, panels: [] }];
    for (const each of panel.type === "row" ? inner : [panel]) yield [named(each), typeOf(each), each];
  }
}

const named = (panel) => `panel ${panel.id} "${panel.title}"`;

function typeOf({ type }) {
  const file = `${PLUGINS}/${type}/panelcfg/x/types.gen`;
  // No such plugin is a problem like any other: nothing but its name has the type `never`.
  if (!/^\w+$/.test(type) || !existsSync(path.join(work, `${file}.d.ts`))) return "{ type: never }";
  const has = (name) => new RegExp(`export interface ${name}\\b`).test(read(path.join(work, `${file}.d.ts`)));
  const member = (name) => (has(name) ? `import("./${file}").${name}` : "{}");
  return `shapes.Panel<${member("Options")}, ${member("FieldConfig")}>`;
}

/** The settings of a provisioned data source that is a Prometheus, for which Grafana publishes a type. */
function* settings(provisioned) {
  for (const { name, type, jsonData } of provisioned.datasources) {
    if (type === "prometheus") yield [`data source ${name}`, "shapes.Prometheus", jsonData];
  }
}

/** A module's text, and what its constants are called. */
function moduleOf(parts) {
  const all = [...parts];
  const line = ([, type, value], index) => `export const it${index}: ${type} = ${JSON.stringify(value, null, 1)};\n`;
  const text = ['import type * as shapes from "./shapes";\n', ...all.map(line)].join("");
  return { labels: all.map(([label]) => label), text };
}

/** Problems of each module, by its file's name: in which constant, where in it, and what TypeScript says. */
function judge(ts, modules, others) {
  const virtual = new Map(Object.entries(others).map(([name, text]) => [path.join(work, name), text]));
  for (const [name, { text }] of modules) virtual.set(path.join(work, name), text);
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    lib: ["lib.es2022.d.ts"],
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (file) => virtual.get(file) ?? readFile(file);
  host.fileExists = (file) => virtual.has(file) || fileExists(file);
  host.getSourceFile = (file, language, ...rest) =>
    virtual.has(file)
      ? ts.createSourceFile(file, virtual.get(file), language, true)
      : getSourceFile.call(host, file, language, ...rest);
  const program = ts.createProgram([...virtual.keys()], options, host);
  const problems = new Map([...modules.keys()].map((name) => [name, []]));
  for (const found of ts.getPreEmitDiagnostics(program)) {
    // Of types that are spelt out at length the beginning tells enough.
    const lines = ts.flattenDiagnosticMessageText(found.messageText, "\n").split("\n");
    const says = lines.map((line) => (line.length > 200 ? `${line.slice(0, 200)} ...` : line)).join("\n      ");
    const name = found.file && path.relative(work, found.file.fileName);
    if (!problems.has(name)) throw new Error(`${name ?? "options"}: ${says}`);
    problems.get(name).push({ ...where(ts, found, modules.get(name).labels), says });
  }
  return problems;
}

/** The constant and the path in it that a problem is about. */
function where(ts, { file, start }, labels) {
  const keys = [];
  let node = ts.getTokenAtPosition(file, start);
  for (; node.parent; node = node.parent) {
    if (ts.isPropertyAssignment(node)) keys.unshift(node.name.text);
    else if (ts.isArrayLiteralExpression(node.parent)) keys.unshift(node.parent.elements.indexOf(node));
    else if (ts.isVariableDeclaration(node)) {
      return { label: labels[Number(node.name.text.slice(2))], at: keys.join(".") };
    }
  }
  throw new Error(`${file.fileName}: a problem outside of all constants`);
}

function main(given) {
  mkdirSync(work, { recursive: true });
  for (const [name, version] of Object.entries(PACKAGES)) unpack(name, version);
  const require = createRequire(path.join(work, "types.mjs"));
  const ts = require("typescript");
  const yaml = require("yaml");

  const folder = path.join(root, "dashboards");
  const files = given.length
    ? given
    : readdirSync(folder).filter((name) => name.endsWith(".json")).sort().map((name) => path.join(folder, name));
  if (!files.length) throw new Error(`no dashboards in ${folder}`);

  const sources = yaml.parse(read(path.join(root, SOURCES)));
  const wrong = { datasources: [{ type: "prometheus", jsonData: { timeIntervall: "15s" } }] };

  const modules = new Map();
  files.forEach((file, index) => modules.set(`dashboard${index}.ts`, moduleOf(constants(JSON.parse(read(file))))));
  modules.set("sources.ts", moduleOf(settings(sources)));
  modules.set("wrong.ts", moduleOf(settings(wrong)));
  modules.set("sound.ts", moduleOf(constants(sound)));
  breaches.forEach((breach, index) => modules.set(`broken${index}.ts`, moduleOf(constants(broken(breach)))));
  const problems = judge(ts, modules, { "shapes.ts": read(path.join(here, "shapes.ts")), "units.ts": units() });

  const said = [];
  const tell = (name, found) => said.push(...found.map(({ label, at, says }) => `${name}: ${label} ${at}: ${says}`));
  files.forEach((file, index) => tell(path.relative(root, file), problems.get(`dashboard${index}.ts`)));
  tell(SOURCES, problems.get("sources.ts"));
  tell("a sound dashboard is refused", problems.get("sound.ts"));
  if (!problems.get("wrong.ts").some(({ at }) => at === "timeIntervall")) said.push("not refused: a wrong data source");
  breaches.forEach(([where, what], index) => {
    const there = problems.get(`broken${index}.ts`).some(({ at }) => at && where.join(".").includes(at));
    if (!there) said.push(`not refused: ${JSON.stringify(what)} at ${where.join(".")}`);
  });
  if (said.length) {
    console.error(said.join("\n"));
    process.exit(1);
  }
  console.log(`${files.length} dashboards have Grafana's types; ${breaches.length} broken ones were refused`);
}

main(process.argv.slice(2));
