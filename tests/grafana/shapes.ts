// What dashboards and data sources may hold as JSON, in the types that Grafana publishes.
//
// Those take any string where only some words mean anything (units, calculations, ids), and leave untyped what has a
// type elsewhere (links, overrides, options of transformations). Both is put right here, and only here.

import type { DataLink, DataTransformerID, FieldMatcherID, ReducerID, standardTransformers } from "@grafana/data";
import type { PromOptions, PromQuery, PromVariableQuery } from "@grafana/prometheus";
import type * as schema from "@grafana/schema";
import type { Unit } from "./units";

/** In JSON the member of an enum is a plain word. */
export type Json<T> = 0 extends 1 & T
  ? T
  : T extends string
    ? `${T}`
    : T extends (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Word<Key, T[Key]> }
        : T;

type Word<Key, T> = Key extends "calcs" ? `${ReducerID}`[] : Key extends "unit" ? Unit : Json<T>;

/** What is left out of a plugin's options has a default. */
type Sparse<T> = T extends unknown[] ? T : T extends object ? { [Key in keyof T]?: Sparse<T[Key]> } : T;

type Source = { type: string; uid: string };

type Field<Custom> = Omit<schema.FieldConfig, "custom" | "links"> & { custom?: Sparse<Custom>; links?: DataLink[] };

/** `custom.lineWidth` overrides a setting of the panel's plugin, `unit` one that every field has. */
type Override<Custom> =
  | { [Key in keyof Field<Custom>]-?: { id: Key; value: Field<Custom>[Key] } }[Exclude<keyof Field<Custom>, "custom">]
  | { [Key in keyof Custom & string]-?: { id: `custom.${Key}`; value: Sparse<Custom[Key]> } }[keyof Custom & string];

type Transformers = typeof standardTransformers;
type Of<Name extends keyof Transformers> = Parameters<Transformers[Name]["operator"]>[0];

/** Transformations whose options are known; of the others only that they exist. */
type Known = {
  calculateField: Of<"calculateFieldTransformer">;
  filterByValue: Of<"filterByValueTransformer">;
  filterFieldsByName: Of<"filterFieldsByNameTransformer">;
  groupBy: Of<"groupByTransformer">;
  joinByField: Of<"joinByFieldTransformer">;
  labelsToFields: Of<"labelsToFieldsTransformer">;
  limit: Of<"limitTransformer">;
  merge: Of<"mergeTransformer">;
  organize: Of<"organizeFieldsTransformer">;
  reduce: Of<"reduceTransformer">;
  renameByRegex: Of<"renameByRegexTransformer">;
  sortBy: Of<"sortByTransformer">;
};
type Other = Exclude<`${DataTransformerID}`, keyof Known>;
type Transformation = Omit<schema.DataTransformerConfig, "id" | "options"> &
  ({ [Id in keyof Known]: { id: Id; options: Sparse<Known[Id]> } }[keyof Known] | { id: Other; options: object });

/** A panel of a plugin with these options and settings of fields. */
export type Panel<Options, Custom> = Json<
  Omit<schema.Panel, "datasource" | "fieldConfig" | "options" | "targets" | "transformations"> & {
    datasource: Source;
    fieldConfig: {
      defaults: Field<Custom>;
      overrides: { matcher: { id: FieldMatcherID; options?: unknown }; properties: Override<Custom>[] }[];
    };
    options: Sparse<Options>;
    targets: (PromQuery & { datasource: Source })[];
    transformations?: Transformation[];
  }
>;

export type Row = Json<schema.RowPanel>;

/** A variable; the text of its query stands beside it once more. */
type Variable = Json<
  Omit<schema.VariableModel, "current" | "query" | "type"> & {
    current?: schema.VariableOption | Record<string, never>;
  } & (
      | { type: "query"; query: PromVariableQuery; definition: string; datasource: Source }
      | { type: "datasource" | "custom" | "constant" | "interval" | "textbox"; query: string }
    )
>;

/** A dashboard, with its panels taken out. */
export type Dashboard = Json<Omit<schema.Dashboard, "panels" | "templating">> & { templating: { list: Variable[] } };

/** `jsonData` of a data source for Prometheus. */
export type Prometheus = Json<PromOptions>;
