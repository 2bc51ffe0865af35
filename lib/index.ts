export { type Angles, type AnglesOptions, angles } from './analysis/angles.js';
export type { Interval } from './analysis/bootstrap.js';
export type { ReliabilityBin } from './analysis/calibration.js';
export {
  type CompareOptions,
  type ComparisonPlan,
  compare,
  planComparison,
} from './analysis/compare/index.js';
export type {
  Comparison,
  CurvePoint,
  MethodKind,
  MethodResult,
  PairedDifference,
  SetResult,
  SubsetResult,
} from './analysis/compare/types.js';
export { type EverythingOptions, everything } from './analysis/everything.js';
export { type Gap, type GapOptions, type GapPoint, gap, gapTerms } from './analysis/gap.js';
export type { Geometry, Matrix } from './analysis/geometry.js';
export {
  type Landscape,
  type LandscapeOptions,
  type LandscapePoint,
  landscape,
  type Mark,
} from './analysis/landscape.js';
export { type Line, type LineOptions, type LinePoint, line } from './analysis/line.js';
export type { Score } from './analysis/mixes.js';
export type { PairGain } from './analysis/pair_gains.js';
export {
  type Report,
  type ReportFormat,
  type ReportOptions,
  report,
} from './analysis/report/index.js';
export { type RunFile, readRun, type Sections, showRun } from './analysis/run_file.js';
export { DTYPES, type DType } from './checkpoint/dtype.js';
export { contentHash } from './checkpoint/hash.js';
export { type OpenOptions, openCheckpoint } from './checkpoint/open.js';
export type { IngredientRecord, SoupRecord } from './checkpoint/record.js';
export type {
  Checkpoint,
  CheckpointFile,
  CheckpointFormat,
  TensorEntry,
} from './checkpoint/types.js';
export { KINDS, type Kind, type Strengths } from './data/shift/parameters.js';
export { type Shift, type ShiftOptions, shift } from './data/shift/shift.js';
export { type Devices, devices } from './devices.js';
export { type Difference, diff, type TensorDifference } from './diff.js';
export { type ErrorCode, type ErrorInfo, type Mismatch, StockpotError } from './errors.js';
export { type CommandOptions, commandEvaluator } from './evaluate/command.js';
export { type Ensemble, type EnsembleOptions, ensemble } from './evaluate/ensemble.js';
export { type Evaluation, evaluate, type ModelMetrics } from './evaluate/evaluate.js';
export type {
  Candidate,
  Evaluator,
  EvaluatorFunction,
  FunctionResult,
  SoupTensor,
} from './evaluate/evaluator.js';
export type { Metric, Metrics } from './evaluate/metrics.js';
export { type NativeEvaluator, nativeEvaluator } from './evaluate/native_evaluator.js';
export { type Prediction, type PredictOptions, predict } from './evaluate/predict.js';
export type { EvaluationOptions } from './evaluate/session.js';
export { type Probe, type ProbeOptions, probe } from './heads/probe.js';
export { type Zeroshot, type ZeroshotOptions, zeroshot } from './heads/zeroshot.js';
export { type Inspection, type InspectOptions, inspect } from './inspect.js';
export { type Gradient, type GradientCallOptions, gradient } from './learn/gradient.js';
export type { Mix, MixGradient, MixObjective } from './learn/objective.js';
export type { LearningPlan } from './learn/plan.js';
export { type MemoryHeld, memoryHeld } from './memory_held.js';
export type { By } from './merge/groups.js';
export type { OutputDType } from './merge/plan.js';
export type { OnProgress, Progress, RunOptions } from './progress.js';
export type { GreedyStep } from './recipes/greedy/choose.js';
export { type GreedyOptions, type GreedySoup, greedy } from './recipes/greedy.js';
export type { LearnedOptions } from './recipes/learned/options.js';
export type { LearnedStep } from './recipes/learned/steps.js';
export { type LearnedSoup, learned } from './recipes/learned.js';
export { type UniformOptions, uniform } from './recipes/uniform.js';
export type { Soup, SoupOptions } from './soup/soup.js';
export { type Verification, type VerifyOptions, verify } from './verify.js';
export { version } from './version.js';
