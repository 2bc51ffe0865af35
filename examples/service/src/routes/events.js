// A job's events.
import { Readable } from 'node:stream';
import { positionOf, stream } from '../events.js';
import { Refusal } from '../problem.js';
import { jobId, problems, security } from '../schemas.js';

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
export function eventRoute(app, jobs, { heartbeat, maxStreams }, streams) {
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
