// The HTTP side: routes, their schemas, authentication, limits, problems.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import bearerAuth from '@fastify/bearer-auth';
import rateLimit from '@fastify/rate-limit';
import send from '@fastify/send';
import swagger from '@fastify/swagger';
import { Ajv } from 'ajv';
import fastify from 'fastify';
import { version } from 'stockpot';
import { positionOf, stream } from './events.js';
import { Metrics } from './metrics.js';
import { PROBLEM, problemOf, Refusal, sendProblem } from './problem.js';
import { job, jobId, jobRequest, problems, RECIPES, request, SHARED, STATES } from './schemas.js';

const strict = new Ajv({ allowUnionTypes: true });
/** Of what comes as text: parameters and the query. */
const lenient = new Ajv({ coerceTypes: true, useDefaults: true });

/** Checks a submission by its recipe's schema, so that what is said about it is about that recipe. */
function submissionValidator() {
  const byRecipe = new Map(RECIPES.map((recipe) => [recipe, strict.compile(request(recipe))]));
  return (body) => {
    const validate = byRecipe.get(body?.recipe);
    if (!validate)
      return {
        error: [{ instancePath: '/recipe', message: `must be one of ${RECIPES.join(', ')}` }],
      };
    return validate(body) ? { value: body } : { error: validate.errors };
  };
}

/**
 * @param settings of readSettings
 * @param {import('./jobs.js').Jobs} jobs
 * @param {AbortSignal} stopping ends the streams of events
 * @param {object | false} logger options of pino
 */
export async function makeApp(settings, { jobs, stopping, logger = false }) {
  const app = fastify({
    logger,
    bodyLimit: settings.maxBody,
    requestTimeout: 30_000,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 1000 },
    // The default is a JSON body of Fastify's own.
    frameworkErrors: (e, _request, reply) => sendProblem(reply, problemOf(e)),
  });
  /** What ends each open stream of events. */
  const streams = new Set();
  stopping.addEventListener('abort', () => {
    for (const stream of streams) stream.abort();
  });
  const metrics = new Metrics(
    () => jobs,
    () => streams.size,
  );
  jobs.log = app.log;
  jobs.onEnd = (ended, soup) => metrics.ended(ended, soup);
  jobs.onRefuse = (code) => metrics.refused.inc({ code });

  app.removeContentTypeParser('text/plain');
  app.setValidatorCompiler(({ schema, httpPart }) =>
    httpPart === 'body' ? submissionValidator() : lenient.compile(schema),
  );
  // Schemas of responses are documentation, and the tests hold the service to them.
  app.setSerializerCompiler(() => JSON.stringify);
  for (const schema of SHARED) app.addSchema(schema);

  app.setErrorHandler((e, request, reply) => {
    const problem = problemOf(e);
    if (problem.status === 500) request.log.error(e);
    if (problem.status === 429 || problem.status === 503)
      reply.header('retry-after', reply.getHeader('retry-after') ?? 5);
    return sendProblem(reply, problem);
  });

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'stockpot service',
        description: 'Model soups as jobs: submitted, followed, cancelled, downloaded.',
        version,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      tags: [{ name: 'jobs' }, { name: 'service' }],
    },
    refResolver: { buildLocalReference: (schema, _base, _fragment, i) => schema.$id ?? `def-${i}` },
  });
  await app.register(rateLimit, {
    global: false,
    max: settings.rate,
    timeWindow: '1 minute',
    hook: 'preHandler',
    keyGenerator: (request) => request.headers.authorization,
    errorResponseBuilder: (_request, { after }) => {
      const problem = new Refusal(429, 'RATE', `more than ${settings.rate} requests a minute`, {
        remedy: `Try again in ${after}.`,
      });
      return Object.assign(problem, { statusCode: 429 });
    },
  });
  refuseUnknown(app);

  openRoutes(app, jobs);
  await app.register(async (scope) => {
    await scope.register(bearerAuth, {
      keys: new Set(settings.tokens),
      specCompliance: 'rfc6749',
      verifyErrorLogLevel: 'debug',
      contentType: PROBLEM,
      errorResponse: (e) => JSON.stringify(problemOf(new Refusal(401, 'TOKEN', e.message))),
    });
    scope.addHook('onRequest', async (_request, reply) => {
      reply.header('cache-control', 'no-store');
    });
    scope.addHook('preHandler', scope.rateLimit());
    jobRoutes(scope, jobs);
    fileRoutes(scope, jobs);
    eventRoute(scope, jobs, settings, streams);
    scope.get('/metrics', {
      schema: {
        tags: ['service'],
        summary: 'Metrics in the format of Prometheus',
        security: [{ token: [] }],
        response: {
          200: {
            description: 'Metrics.',
            content: { 'text/plain': { schema: { type: 'string' } } },
          },
          ...problems(),
        },
      },
      handler: async (_request, reply) => {
        reply.type(metrics.registry.contentType);
        return metrics.registry.metrics();
      },
    });
  });
  return app;
}

/** Says which methods an address has, or that there is none; before a body is looked at. */
function refuseUnknown(app) {
  const known = new Map();
  app.addHook('onRoute', ({ url, method }) => {
    const path = `^${url.replace(/:\w+/g, '[^/]+')}$`;
    known.set(path, [...(known.get(path) ?? []), method].flat());
  });
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return;
    const path = request.url.split('?')[0];
    const methods = [...known].find(([pattern]) => new RegExp(pattern).test(path))?.[1].join(', ');
    if (!methods) throw new Refusal(404, 'NO_ROUTE', 'there is nothing at this address');
    reply.header('allow', methods);
    throw new Refusal(405, 'METHOD', `expected ${methods} but received ${request.method}`);
  });
}

function openRoutes(app, jobs) {
  const status = {
    description: 'How the service is.',
    type: 'object',
    required: ['status'],
    properties: { status: { enum: ['ok', 'stopping'] } },
  };
  app.get('/health/live', {
    schema: {
      tags: ['service'],
      summary: 'Whether the process answers',
      security: [],
      response: { 200: status },
    },
    handler: async () => ({ status: 'ok' }),
  });
  app.get('/health/ready', {
    schema: {
      tags: ['service'],
      summary: 'Whether jobs are taken',
      security: [],
      response: { 200: status, 503: status },
    },
    handler: async (_request, reply) => {
      if (!jobs.draining) return { status: 'ok' };
      reply.code(503);
      return { status: 'stopping' };
    },
  });
  app.get('/openapi.json', { schema: { hide: true }, handler: async () => app.swagger() });
}

const security = [{ token: [] }];
const oneJob = { description: 'The job.', content: { 'application/json': { schema: job } } };

function jobRoutes(app, jobs) {
  const tags = ['jobs'];
  app.post('/v1/jobs', {
    schema: {
      tags,
      security,
      summary: 'Submit a job',
      headers: {
        type: 'object',
        properties: {
          'idempotency-key': {
            type: 'string',
            pattern: '^[!-~]{1,200}$',
            description: 'Asking again with the same key makes no second job.',
          },
        },
      },
      body: jobRequest,
      response: {
        201: {
          ...oneJob,
          description: 'The job is on the disk.',
          headers: { location: { type: 'string' } },
        },
        200: { ...oneJob, description: 'The job that this Idempotency-Key made.' },
        ...problems(403, 409, 413, 415, 422, 507),
      },
    },
    handler: async (request, reply) => {
      const { job: made, fresh } = await jobs.submit(
        request.body,
        request.headers['idempotency-key'] ?? null,
      );
      reply.code(fresh ? 201 : 200).header('location', `/v1/jobs/${made.id}`);
      return jobs.show(made);
    },
  });
  app.get('/v1/jobs', {
    schema: {
      tags,
      security,
      summary: 'List jobs, newest first',
      querystring: {
        type: 'object',
        additionalProperties: false,
        properties: {
          state: { type: 'string', enum: STATES },
          limit: { type: 'integer', minimum: 1, maximum: 500, default: 50 },
          before: {
            type: 'integer',
            minimum: 0,
            maximum: Number.MAX_SAFE_INTEGER,
            description: "A list's `next`: what follows it.",
          },
        },
      },
      response: {
        200: {
          description: 'Jobs.',
          content: {
            'application/json': {
              schema: {
                type: 'object',
                required: ['jobs', 'next'],
                properties: {
                  jobs: { type: 'array', items: job },
                  next: { type: ['integer', 'null'] },
                },
              },
            },
          },
        },
        ...problems(),
      },
    },
    handler: async (request) => {
      const { jobs: found, next } = jobs.list(request.query);
      return { jobs: found.map((j) => jobs.show(j)), next };
    },
  });
  app.get('/v1/jobs/:id', {
    schema: {
      tags,
      security,
      summary: 'The state of a job',
      params: jobId,
      response: { 200: oneJob, ...problems(404) },
    },
    handler: async (request) => jobs.show(jobs.get(request.params.id)),
  });
  app.post('/v1/jobs/:id/cancel', {
    schema: {
      tags,
      security,
      summary: 'Cancel a job',
      params: jobId,
      response: { 200: oneJob, ...problems(404, 409) },
    },
    handler: async (request) => jobs.show(await jobs.cancel(request.params.id)),
  });
  app.delete('/v1/jobs/:id', {
    schema: {
      tags,
      security,
      summary: 'Remove a job and its files; one that runs is cancelled',
      params: jobId,
      response: { 204: { description: 'It is gone.', type: 'null' }, ...problems(404) },
    },
    handler: async (request, reply) => {
      await jobs.remove(request.params.id);
      reply.code(204);
    },
  });
}

function fileRoutes(app, jobs) {
  const tags = ['jobs'];
  const finished = (id) => {
    const found = jobs.get(id);
    if (found.state !== 'done') throw new Refusal(409, 'NOT_DONE', `the job is ${found.state}`);
    return found;
  };
  app.get('/v1/jobs/:id/result', {
    schema: {
      tags,
      security,
      summary: 'What the recipe returned: members, weights, warnings, …',
      params: jobId,
      response: {
        200: {
          description: 'As the library returns it.',
          content: { 'application/json': { schema: { type: 'object' } } },
        },
        ...problems(404, 409),
      },
    },
    handler: async (request, reply) => {
      const { id } = finished(request.params.id);
      reply.type('application/json; charset=utf-8');
      return reply.send(await readFile(join(jobs.journal.folderOf(id), 'result.json')));
    },
  });
  const bytes = { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } };
  app.get('/v1/jobs/:id/files/:name', {
    schema: {
      tags,
      security,
      summary: 'Download a file of the soup: model.safetensors, soup.json (its record), …',
      params: {
        type: 'object',
        required: ['id', 'name'],
        properties: {
          ...jobId.properties,
          name: {
            type: 'string',
            minLength: 1,
            description: "One of the job's files; a / in it as %2F.",
          },
        },
      },
      headers: {
        type: 'object',
        properties: { range: { type: 'string', description: 'Such as bytes=0-1023.' } },
      },
      response: {
        200: {
          description: 'The file.',
          content: bytes,
          headers: { 'accept-ranges': { type: 'string' }, etag: { type: 'string' } },
        },
        206: {
          description: 'A part of it.',
          content: bytes,
          headers: { 'content-range': { type: 'string' } },
        },
        304: { description: 'It is what If-None-Match says.', type: 'null' },
        ...problems(404, 409, 412, 416),
      },
    },
    handler: async (request, reply) => {
      const { id, files } = finished(request.params.id);
      const { name } = request.params;
      // Only what is listed: a name leads nowhere else.
      if (!files.some((f) => f.name === name))
        throw new Refusal(404, 'NO_FILE', `the soup has no file "${name}"`);
      const root = join(jobs.journal.folderOf(id), 'soup');
      const file = await send(request.raw, encodeURI(`/${name}`), {
        root,
        dotfiles: 'allow',
        index: false,
        cacheControl: false,
      });
      if (file.type === 'error') {
        const status = file.statusCode ?? file.metadata?.error?.statusCode ?? 500;
        if (file.headers['Content-Range'])
          reply.header('content-range', file.headers['Content-Range']);
        throw new Refusal(status, 'FILE', `"${name}" cannot be sent as it was asked for`);
      }
      reply.code(file.statusCode).headers(file.headers);
      reply.type('application/octet-stream');
      reply.header(
        'content-disposition',
        `attachment; filename*=UTF-8''${encodeURIComponent(name.split('/').at(-1))}`,
      );
      return reply.send(file.stream);
    },
  });
}

const EVENT = {
  type: 'object',
  required: ['id', 'event', 'data'],
  properties: {
    id: { type: 'string' },
    event: { enum: ['state', 'progress', 'step', 'end'] },
    data: { type: 'string', contentMediaType: 'application/json' },
  },
};

/** @param {Set<AbortController>} streams those that are open */
function eventRoute(app, jobs, { heartbeat, maxStreams }, streams) {
  app.get('/v1/jobs/:id/events', {
    // An answer to HEAD would never end.
    exposeHeadRoute: false,
    schema: {
      tags: ['jobs'],
      security,
      summary: 'Follow a job: server-sent events `state`, `progress`, `step` and, last, `end`',
      params: jobId,
      headers: {
        type: 'object',
        properties: { 'last-event-id': { type: 'string', description: 'Go on after this event.' } },
      },
      response: {
        200: {
          description: 'Events; the data of `state` and `end` is the job.',
          content: { 'text/event-stream': { schema: EVENT } },
        },
        204: { description: 'The client has seen the last event.', type: 'null' },
        ...problems(404),
      },
    },
    handler: async (request, reply) => {
      const followed = jobs.get(request.params.id);
      const log = followed.live.events;
      const position = positionOf(log, request.headers['last-event-id']);
      if (log.ended && position === log.last && position > 0) return reply.code(204).send();
      if (streams.size >= maxStreams)
        throw new Refusal(503, 'STREAMS', `${maxStreams} streams of events are open already`);
      const gone = new AbortController();
      streams.add(gone);
      reply.raw.once('close', () => {
        gone.abort();
        streams.delete(gone);
      });
      const text = stream(log, position, () => jobs.eventOf(followed), {
        heartbeat,
        signal: gone.signal,
      });
      reply
        .header('content-type', 'text/event-stream; charset=utf-8')
        .header('x-accel-buffering', 'no');
      return reply.send(Readable.from(text, { objectMode: false }));
    },
  });
}
