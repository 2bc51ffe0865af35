/** What the report takes from the other analyses' results: the parts of them that it shows. */

interface Scored {
  accuracy: number | null;
  loss: number | null;
}

/** Of `angles` with an evaluator. */
export interface AnglesInput {
  ingredients: string[];
  refused: string | null;
  taskVectors: { norms: number[]; angles: (number | null)[][] } | null;
  pairs:
    | {
        a: number;
        b: number;
        angle: number | null;
        meanAccuracy: number | null;
        accuracy: number | null;
        gain: number | null;
      }[]
    | null;
  correlation: number | null;
}

/** Of `landscape`. */
export interface LandscapeInput {
  checkpoints: string[];
  x: number[];
  y: number[];
  points: (Scored & { x: number; y: number })[];
  marks: (Scored & { model: string; role: string; x: number; y: number; distance: number })[];
}

/** Of `landscape --line`. */
export interface LineInput {
  checkpoints: string[];
  points: { alpha: number; scores: Record<string, Scored> }[];
}

/** Of `gap`. */
export interface GapInput {
  ingredients: string[];
  n: number;
  step: number;
  points: {
    a: number;
    b: number;
    alpha: number;
    beta: number;
    measured: number;
    predicted: number;
    soupLoss: number;
    ensembleLoss: number;
    secondDerivative: number;
    variance: number;
  }[];
  correlation: number | null;
  meanError: number;
}
