// The API reference is made of the types without a warning, and everything that is exported says what it is.
import { Application, type JSONOutput, ReflectionKind } from 'typedoc';
import { expect, test } from 'vitest';
import { root } from './consumer.js';

test('every export has a doc comment, and the reference is made without a warning', async () => {
  const app = await Application.bootstrapWithPlugins({
    options: root,
    validation: { notExported: false, invalidLink: true, rewrittenLink: true, notDocumented: true },
    logLevel: 'Error',
  });
  const project = await app.convert();
  if (!project) throw new Error('typedoc does not read the types');
  const said: string[] = [];
  app.logger.warn = (text) => said.push(text);
  app.validate(project);
  expect(said).toEqual([]);
  const json = app.serializer.projectToObject(
    project,
    root as never,
  ) as JSONOutput.ProjectReflection;
  const functions = json.children?.filter((c) => c.kind === ReflectionKind.Function) ?? [];
  expect(functions.map((f) => f.name)).toEqual(
    expect.arrayContaining(['uniform', 'greedy', 'learned', 'evaluate', 'openCheckpoint']),
  );
  // What rejects says so.
  const silent = functions.filter(
    (f) =>
      f.signatures?.[0]?.type?.type === 'reference' &&
      (f.signatures[0].type as JSONOutput.ReferenceType).name === 'Promise' &&
      !f.signatures[0].comment?.blockTags?.some((t) => t.tag === '@throws'),
  );
  expect(silent.map((f) => f.name)).toEqual([]);
}, 300_000);
