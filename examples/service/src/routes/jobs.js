// Jobs: submitted, listed, shown, cancelled, removed.
import { job, jobId, jobRequest, oneJob, problems, STATES, security } from '../schemas.js';

export function jobRoutes(app, jobs) {
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
