// The service itself: health, its document, metrics.
import { problems, security } from '../schemas.js';

/** What needs no token. */
export function openRoutes(app, jobs) {
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

export function metricsRoute(app, metrics) {
  app.get('/metrics', {
    schema: {
      tags: ['service'],
      summary: 'Metrics in the format of Prometheus',
      security,
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
}
