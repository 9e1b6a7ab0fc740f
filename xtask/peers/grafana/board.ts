// The type of a board's JSON: Grafana's `Dashboard`, with the options of the panels that OmniStack's boards use.
import type { Dashboard, Panel, RowPanel } from "@grafana/schema";
import type { Options as BarGauge } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type {
  FieldConfig as HeatmapField,
  Options as Heatmap,
} from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type {
  FieldConfig as StateTimelineField,
  Options as StateTimeline,
} from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type {
  FieldConfig as TableField,
  Options as Table,
} from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type {
  FieldConfig as TimeSeriesField,
  Options as TimeSeries,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** `T` as JSON writes it: the values of enumerations as text or numbers, and without functions. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Json<Item>[]
      : { [Key in keyof T]: Json<T[Key]> };

/** A panel with the options and the custom fields of its type. */
type Typed<Type extends string, Options, Custom> = Omit<Json<Panel>, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Type;
  options: Json<Options>;
  fieldConfig: {
    defaults: Omit<Json<NonNullable<Panel["fieldConfig"]>["defaults"]>, "custom"> & { custom?: Json<Custom> };
    overrides: [];
  };
  targets: Target[];
};

/** A query of a panel, in PromQL. */
interface Target {
  refId: string;
  datasource: { type: "prometheus"; uid: "${datasource}" };
  expr: string;
  legendFormat: string;
  instant?: true;
  range?: false;
  format?: "heatmap" | "table";
}

export type Board = Omit<Json<Dashboard>, "id" | "schemaVersion" | "panels"> & {
  /** Grafana assigns it. */
  id: null;
  uid: string;
  schemaVersion: 42;
  panels: (
    | Typed<"bargauge", BarGauge, Record<string, never>>
    | Typed<"heatmap", Heatmap, HeatmapField>
    | Typed<"stat", Stat, Record<string, never>>
    | Typed<"state-timeline", StateTimeline, StateTimelineField>
    | Typed<"table", Table, TableField>
    | Typed<"timeseries", TimeSeries, TimeSeriesField>
    | Json<RowPanel>
  )[];
};
