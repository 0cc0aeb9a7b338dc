/** Members of tar shards put together by their names, as WebDataset and img2dataset write them. */
import { InputError } from '../../../core/errors.js';
import { readImageHeader } from '../../images/header.js';
import { shardBytes } from './shards.js';
import type { Place, Record } from './shuffled.js';
import { readTar } from './tar.js';

/** Everything of one name: `000012.jpg`, `000012.txt` and `000012.json`. */
export interface MemberGroup {
  readonly where: string;
  readonly picture: { readonly name: string; readonly bytes: Uint8Array } | null;
  readonly text: Uint8Array | null;
  readonly json: Uint8Array | null;
}

const PICTURE = /\.(jpe?g|png|webp|gif|avif|tiff?)$/i;
const KIND = /\.([^./]+)$/;

/** The part of a member's path before the first dot of its last part. */
function keyOf(name: string): string {
  const slash = name.lastIndexOf('/') + 1;
  const dot = name.indexOf('.', slash);
  return dot < 0 ? name : name.slice(0, dot);
}

/** The groups of a shard from a place (the byte of a header) on. */
export async function* readGroups(shard: string, [from = 0]: Place): AsyncGenerator<Record<MemberGroup>> {
  const wants = (name: string): boolean => PICTURE.test(name) || /\.(txt|json)$/i.test(name);
  let key: string | null = null;
  let parts = new Map<string, { name: string; bytes: Uint8Array }>();
  const group = (next: number): Record<MemberGroup> => {
    const picture = parts.get('picture') ?? null;
    const bytes = [...parts.values()].reduce((n, part) => n + part.bytes.length, 0);
    const where = `${shard}: ${picture?.name ?? key}`;
    const record = { where, picture, text: parts.get('txt')?.bytes ?? null, json: parts.get('json')?.bytes ?? null };
    return { record, next: [next], bytes };
  };
  for await (const { name, bytes, start } of readTar(shardBytes(shard, from), shard, { from, wants })) {
    const own = keyOf(name);
    if (own !== key) {
      if (key !== null && parts.size > 0) yield group(start);
      key = own;
      parts = new Map();
    }
    if (bytes === null) continue;
    const kind = PICTURE.test(name) ? 'picture' : (KIND.exec(name)?.[1].toLowerCase() ?? '');
    parts.set(kind, { name, bytes });
  }
  // Nothing lies behind the last: a place that no archive has.
  if (parts.size > 0) yield group(Number.MAX_SAFE_INTEGER);
}

/** The picture of a group. Throws InputError where there is none, or what is no picture. */
export function pictureOf({ picture, where }: MemberGroup): Uint8Array {
  if (picture === null) throw new InputError(`${where}: there is no picture of this name.`);
  if (readImageHeader(picture.bytes) === undefined)
    throw new InputError(`${where}: the picture is empty or of no known kind.`);
  return picture.bytes;
}

/** What is said of the picture: the .txt, or `caption` of the .json. Throws InputError where nothing is. */
export function captionOf({ text, json, where }: MemberGroup): string {
  const said = text === null ? captionIn(json, where) : decoded(text, where);
  if (said.trim() === '') throw new InputError(`${where}: there is no text of this name.`);
  return said.trim();
}

function captionIn(json: Uint8Array | null, where: string): string {
  if (json === null) return '';
  let value: unknown;
  try {
    value = JSON.parse(decoded(json, where));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${where}: the .json beside it is not valid.`);
  }
  const caption = typeof value === 'object' && value !== null ? (value as { caption?: unknown }).caption : undefined;
  return typeof caption === 'string' ? caption : '';
}

function decoded(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${where}: the text beside it is not UTF-8.`);
  }
}
