// A small dashboard that Grafana's types take, and ways to break it that they must refuse.

const source = { type: "prometheus", uid: "${datasource}" };

export const sound = {
  uid: "sound",
  title: "Sound",
  tags: [],
  schemaVersion: 42,
  graphTooltip: 1,
  time: { from: "now-6h", to: "now" },
  links: [],
  templating: {
    list: [
      { name: "datasource", type: "datasource", query: "prometheus", refresh: 1, hide: 0 },
      {
        name: "agent",
        type: "query",
        datasource: source,
        definition: "label_values(up, agent)",
        query: { qryType: 1, query: "label_values(up, agent)", refId: "variable-agent" },
        refresh: 2,
        sort: 1,
      },
    ],
  },
  panels: [
    {
      id: 1,
      type: "row",
      title: "Folded",
      collapsed: true,
      gridPos: { x: 0, y: 0, w: 24, h: 1 },
      panels: [
        {
          id: 2,
          type: "timeseries",
          title: "Inside",
          datasource: source,
          gridPos: { x: 0, y: 1, w: 12, h: 8 },
          fieldConfig: {
            defaults: { unit: "s", color: { mode: "palette-classic" }, custom: { lineWidth: 1, drawStyle: "line" } },
            overrides: [
              {
                matcher: { id: "byName", options: "failed" },
                properties: [
                  { id: "color", value: { mode: "fixed", fixedColor: "red" } },
                  { id: "custom.lineWidth", value: 2 },
                ],
              },
            ],
          },
          options: {
            legend: { displayMode: "table", placement: "bottom", showLegend: true, calcs: ["mean"] },
            tooltip: { mode: "multi", sort: "desc" },
          },
          targets: [{ refId: "A", datasource: source, editorMode: "code", expr: "up", legendFormat: "{{agent}}" }],
        },
      ],
    },
    {
      id: 3,
      type: "table",
      title: "Below",
      datasource: source,
      gridPos: { x: 0, y: 9, w: 24, h: 8 },
      fieldConfig: {
        defaults: {
          unit: "short",
          thresholds: { mode: "absolute", steps: [{ color: "text", value: null }] },
          links: [{ title: "Agent", url: "/d/sound" }],
          custom: { align: "auto" },
        },
        overrides: [],
      },
      options: { showHeader: true, sortBy: [{ displayName: "Turns", desc: true }] },
      targets: [{ refId: "A", datasource: source, expr: "up", format: "table", instant: true }],
      transformations: [
        { id: "merge", options: {} },
        { id: "organize", options: { excludeByName: { Time: true } } },
      ],
    },
  ],
};

const inside = ["panels", 0, "panels", 0];
const below = ["panels", 1];

/** Where a breach is, and what stands there then. */
export const breaches = [
  [["title"], 7],
  [["panel"], []],
  [["graphTooltip"], 5],
  [["templating", "list", 1, "type"], "queries"],
  [["templating", "list", 1, "query", "querry"], "up"],
  [["panels", 0, "colapsed"], true],
  [[...inside, "type"], "timeserie"],
  [[...inside, "gridPos", "w"], "12"],
  [[...inside, "targets", 0, "format"], "tabel"],
  [[...inside, "targets", 0, "legend"], "{{agent}}"],
  [[...inside, "options", "tooltip", "mode"], "all"],
  [[...inside, "options", "colorMode"], "value"],
  [[...inside, "options", "legend", "calcs", 0], "average"],
  [[...inside, "fieldConfig", "defaults", "unit"], "secs"],
  [[...inside, "fieldConfig", "defaults", "color", "mode"], "palette"],
  [[...inside, "fieldConfig", "defaults", "custom", "lineWith"], 1],
  [[...inside, "fieldConfig", "overrides", 0, "matcher", "id"], "byLabel"],
  [[...inside, "fieldConfig", "overrides", 0, "properties", 0, "value", "mode"], "constant"],
  [[...inside, "fieldConfig", "overrides", 0, "properties", 1, "id"], "custom.lineWith"],
  [[...inside, "fieldConfig", "overrides", 0, "properties", 1, "value"], "2"],
  [[...below, "options", "sortBy", 0, "descending"], true],
  [[...below, "fieldConfig", "defaults", "thresholds", "steps", 0, "value"], "0"],
  [[...below, "fieldConfig", "defaults", "links", 0, "href"], "/d/sound"],
  [[...below, "transformations", 0, "id"], "merged"],
  [[...below, "transformations", 1, "options", "renameByNames"], {}],
];

/** `sound` with one breach. */
export function broken([where, what]) {
  const copy = structuredClone(sound);
  const parent = where.slice(0, -1).reduce((value, key) => value[key], copy);
  parent[where.at(-1)] = what;
  return copy;
}
