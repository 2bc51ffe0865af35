// The HTTP side: the document, authentication, limits, problems; what the routes have in common.
import bearerAuth from '@fastify/bearer-auth';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import { Ajv } from 'ajv';
import fastify from 'fastify';
import { version } from 'stockpot';
import { Metrics } from './metrics.js';
import { PROBLEM, problemOf, Refusal, sendProblem } from './problem.js';
import { eventRoute } from './routes/events.js';
import { fileRoutes } from './routes/files.js';
import { jobRoutes } from './routes/jobs.js';
import { metricsRoute, openRoutes } from './routes/service.js';
import { RECIPES, request, SHARED } from './schemas.js';

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
    keyGenerator: (request) => request.headers.authorization.slice('Bearer '.length).trim(),
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
    // After the token: only who has one is counted.
    scope.addHook('onRequest', scope.rateLimit());
    jobRoutes(scope, jobs);
    fileRoutes(scope, jobs);
    eventRoute(scope, jobs, settings, streams);
    metricsRoute(scope, metrics);
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
