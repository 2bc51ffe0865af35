// What a job made: the recipe's result, and the files of the soup.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import send from '@fastify/send';
import { Refusal } from '../problem.js';
import { jobId, problems, security } from '../schemas.js';

export function fileRoutes(app, jobs) {
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
