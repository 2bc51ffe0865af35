// The API's data, as JSON Schema: what requests are checked against, and what openapi.json says.
/** A string that is not empty, and what else is said of it. */
const text = (maxLength, more) => ({ type: 'string', minLength: 1, maxLength, ...more });
const paths = text(4096, { pattern: '^/' });
const globs = {
  type: 'array',
  maxItems: 100,
  items: text(500),
};
const nullable = (type) => ({ type: [type, 'null'] });

/** Options of every recipe; the library's SoupOptions. */
const soup = {
  dtype: {
    enum: ['keep', 'f32', 'f16', 'bf16'],
    description: 'Type of the floating-point tensors.',
  },
  include: globs,
  exclude: globs,
  key: text(500, { description: 'The dict inside wrapped PyTorch checkpoints.' }),
  like: {
    ...paths,
    description:
      'Where config, tokenizer and the like come from, in place of the first ingredient.',
  },
  hash: {
    type: 'boolean',
    description: "Put the SHA-256 of the ingredients' files into the record.",
  },
  maxShardSize: {
    type: 'integer',
    minimum: 1e6,
    maximum: 1e13,
    description: 'Bytes a file may have.',
  },
  allowNonfinite: { type: 'boolean' },
  allowOverflow: { type: 'boolean' },
};

/** Options of the recipes that look at held-out data; the library's EvaluationOptions. */
const heldOut = {
  data: {
    oneOf: [paths, { type: 'array', minItems: 1, maxItems: 1000, items: paths }],
    description:
      'The held-out set: a tensor file, a folder of classes, tar shards, text or parquet files.',
  },
  config: { ...paths, description: 'The config, where none lies beside the first ingredient.' },
  tokenizer: paths,
  labelWords: paths,
  columns: {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(
      ['text', 'pair', 'label', 'image'].map((name) => [name, text(500)]),
    ),
  },
  skipBad: { type: 'boolean', description: 'Leave out examples that cannot be read.' },
};

const metric = { enum: ['accuracy', 'loss', 'f1', 'matthews'] };

const options = {
  uniform: {
    weights: {
      type: 'array',
      minItems: 1,
      maxItems: 10000,
      items: { type: 'number' },
      description: 'One an ingredient.',
    },
    normalize: { type: 'boolean', description: 'Divide the weights by their sum.' },
  },
  greedy: {
    ...heldOut,
    metric,
    accept: { enum: ['ge', 'gt'] },
    order: { enum: ['metric', 'given'] },
  },
  learned: {
    ...heldOut,
    by: { enum: ['model', 'layer', 'tensor'] },
    parametrisation: { enum: ['softmax', 'free'] },
    lr: { type: 'number', exclusiveMinimum: 0, maximum: 1000 },
    epochs: { type: 'integer', minimum: 1, maximum: 10000 },
    steps: { type: 'integer', minimum: 1, maximum: 1000000 },
    batchSize: {
      oneOf: [{ type: 'integer', minimum: 1, maximum: 1000000 }, { enum: ['full'] }],
    },
    weightDecay: { type: 'number', minimum: 0, maximum: 1000 },
    temperature: { type: 'boolean', description: 'Learn the temperature as well.' },
    seed: { type: 'integer', minimum: 0, maximum: 4294967295 },
  },
};

export const request = (recipe) => ({
  type: 'object',
  additionalProperties: false,
  required: ['recipe', 'ingredients', ...(recipe === 'uniform' ? [] : ['data'])],
  properties: {
    recipe: { type: 'string', enum: [recipe] },
    ingredients: {
      type: 'array',
      minItems: 1,
      maxItems: 10000,
      items: paths,
      description: 'Checkpoints: absolute paths of files or folders under the configured roots.',
    },
    ...soup,
    ...options[recipe],
  },
});

export const RECIPES = ['uniform', 'greedy', 'learned'];
export const STATES = ['queued', 'running', 'done', 'failed', 'cancelled'];

/** Options whose values are paths that the service resolves. */
export const PATH_OPTIONS = ['like', 'data', 'config', 'tokenizer', 'labelWords'];

const error = {
  code: { type: 'string', description: "A code of stockpot's (docs/cli.md) or of the service." },
  file: { type: 'string' },
  tensor: { type: 'string' },
  details: {
    type: 'array',
    items: {
      type: 'object',
      required: ['message'],
      properties: {
        file: { type: 'string' },
        tensor: { type: 'string' },
        message: { type: 'string' },
      },
    },
  },
  remedy: { type: 'string' },
};

const time = { type: 'string', format: 'date-time' };
const timeOrNull = (description) => ({
  ...time,
  ...nullable('string'),
  ...(description && { description }),
});

const definitions = {
  Problem: {
    description: 'RFC 9457.',
    type: 'object',
    required: ['type', 'title', 'status', 'detail', 'code'],
    properties: {
      type: { type: 'string' },
      title: { type: 'string' },
      status: { type: 'integer' },
      detail: { type: 'string' },
      errors: {
        type: 'array',
        items: {
          type: 'object',
          required: ['pointer', 'message'],
          properties: { pointer: { type: 'string' }, message: { type: 'string' } },
        },
      },
      ...error,
    },
  },
  UniformRequest: request('uniform'),
  GreedyRequest: request('greedy'),
  LearnedRequest: request('learned'),
  Job: {
    type: 'object',
    required: [
      'id',
      'state',
      'request',
      'created',
      'started',
      'finished',
      'expires',
      'starts',
      'progress',
      'step',
      'sha256',
      'files',
      'error',
    ],
    additionalProperties: false,
    properties: {
      id: { type: 'string' },
      state: { enum: STATES },
      request: { type: 'object', description: 'As it was given.' },
      created: time,
      started: timeOrNull('Of the last start.'),
      finished: timeOrNull(),
      expires: timeOrNull('When the job and its files are removed.'),
      starts: {
        type: 'integer',
        description: 'How often it was started; more than once after a restart of the service.',
      },
      progress: {
        ...nullable('object'),
        description: "The library's Progress: phase, bytesRead, bytesTotal, steps, …",
      },
      step: {
        ...nullable('object'),
        description: "The recipe's last step: a candidate (greedy) or a loss (learned).",
      },
      sha256: {
        ...nullable('string'),
        description: "Of the soup's weight files, as the library says it.",
      },
      files: {
        type: 'array',
        items: {
          type: 'object',
          required: ['name', 'size'],
          properties: { name: { type: 'string' }, size: { type: 'integer' } },
        },
      },
      error: {
        ...nullable('object'),
        required: ['code', 'message'],
        properties: { ...error, message: { type: 'string' } },
      },
    },
  },
};

/** Shared schemas, for `app.addSchema`. */
export const SHARED = Object.entries(definitions).map(([$id, schema]) => ({ $id, ...schema }));

const ref = (name) => ({ $ref: `${name}#` });

/** The body of a submission; which of them, its recipe says. */
export const jobRequest = {
  oneOf: [ref('UniformRequest'), ref('GreedyRequest'), ref('LearnedRequest')],
  discriminator: {
    propertyName: 'recipe',
    mapping: {
      uniform: '#/components/schemas/UniformRequest',
      greedy: '#/components/schemas/GreedyRequest',
      learned: '#/components/schemas/LearnedRequest',
    },
  },
};

export const jobId = {
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' } },
};

export const job = ref('Job');

export const PROBLEMS = {
  400: 'The request does not follow the schema.',
  401: 'No token, or a wrong one.',
  403: 'A path outside of the roots.',
  404: 'There is no such job or file.',
  409: "The job's state, or an earlier request, does not allow it.",
  412: 'The file is not what If-Match says.',
  413: 'The body is too large, or the job is.',
  415: 'The body is not JSON.',
  416: 'The file has no such bytes.',
  422: 'The ingredients or the options cannot become a soup.',
  429: 'Too many requests, or the queue is full.',
  500: 'A fault of the service.',
  507: 'The disk is full.',
  503: 'The service is shutting down, or has too much to do.',
};

/** Responses of a route, for these problems and those that any route may have. */
export const problems = (...statuses) =>
  Object.fromEntries(
    [...new Set([400, 401, 429, 500, 503, ...statuses])].map((s) => [
      s,
      {
        description: PROBLEMS[s],
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    ]),
  );

/** Of routes that need a token. */
export const security = [{ token: [] }];

export const oneJob = {
  description: 'The job.',
  content: { 'application/json': { schema: job } },
};
