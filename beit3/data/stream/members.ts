/** Members of tar shards put together by their names, as WebDataset and img2dataset write them. */
import { InputError } from '../../../core/errors.js';
import { readImageHeader } from '../../images/header.js';
import { shardBytes } from './shards.js';
import type { Place, Record } from './shuffled.js';
import { readTar } from './tar.js';

/** The bytes of a member; only how many there are where they are too many; null where there is no such member. */
type Bytes = Uint8Array | number | null;

/** Everything of one name: `000012.jpg`, `000012.txt` and `000012.json`. There are many, so that it is small. */
export interface MemberGroup {
  readonly shard: string;
  /** Of the picture; what all names begin with where there is none. */
  readonly name: string;
  readonly picture: Bytes;
  readonly text: Bytes;
  /** Not read where there is a text before it. */
  readonly json: Bytes;
}

type Kind = 'picture' | 'text' | 'json';

/** Larger members are passed over. */
const MOST_BYTES: { readonly [kind in Kind]: number } = { picture: 128 << 20, text: 1 << 20, json: 16 << 20 };
const KINDS: ReadonlyMap<string, Kind> = new Map([
  ...['jpg', 'jpeg', 'png', 'webp', 'gif', 'avif', 'tif', 'tiff'].map((ending) => [ending, 'picture'] as const),
  ['txt', 'text'],
  ['json', 'json'],
]);

function kindOf(name: string): Kind | null {
  return KINDS.get(name.slice(name.lastIndexOf('.') + 1).toLowerCase()) ?? null;
}

/** The part of a member's path before the first dot of its last part. */
function keyOf(name: string): string {
  const slash = name.lastIndexOf('/') + 1;
  const dot = name.indexOf('.', slash);
  return dot < 0 ? name : name.slice(0, dot);
}

/** The groups of a shard from a place (the byte of a header) on, with those `kinds` of members alone. */
export async function* readGroups(
  shard: string,
  [from = 0]: Place,
  kinds: readonly Kind[] = ['picture', 'text', 'json'],
): AsyncGenerator<Record<MemberGroup>> {
  let key: string | null = null;
  let found: { -readonly [field in keyof MemberGroup]: MemberGroup[field] } | null = null;
  let bytesFound = 0;
  const isNeeded = (kind: Kind | null, name: string): kind is Kind =>
    kind !== null && kinds.includes(kind) && !(kind === 'json' && found?.text != null && keyOf(name) === key);
  const most = (name: string): number => {
    const kind = kindOf(name);
    return isNeeded(kind, name) ? MOST_BYTES[kind] : -1;
  };
  let end = from;
  for await (const { name, size, bytes, start, next } of readTar(shardBytes(shard, from), shard, { from, most })) {
    const own = keyOf(name);
    if (own !== key) {
      if (found) yield { record: found, next: [start], bytes: bytesFound };
      [key, found, bytesFound] = [own, null, 0];
    }
    end = next;
    const kind = kindOf(name);
    if (!isNeeded(kind, name)) continue;
    found ??= { shard, name: own, picture: null, text: null, json: null };
    found[kind] = bytes ?? size;
    bytesFound += bytes?.length ?? 0;
    if (kind === 'picture') found.name = name;
  }
  if (found) yield { record: found, next: [end], bytes: bytesFound };
}

/** Where a group comes from, for messages. */
export function placeOf({ shard, name }: MemberGroup): string {
  return `${shard}: ${name}`;
}

/** The bytes of a member of a group. Throws InputError where they are too many. */
function bytesOf(group: MemberGroup, kind: Kind): Uint8Array | null {
  const bytes = group[kind];
  if (typeof bytes !== 'number') return bytes;
  throw new InputError(
    `${placeOf(group)}: the ${kind} has ${bytes} bytes, more than the ${MOST_BYTES[kind]} that are read.`,
  );
}

/** The picture of a group. Throws InputError where there is none, or what is no picture. */
export function pictureOf(group: MemberGroup): Uint8Array {
  const bytes = bytesOf(group, 'picture');
  if (bytes === null) throw new InputError(`${placeOf(group)}: there is no picture of this name.`);
  if (readImageHeader(bytes) === undefined)
    throw new InputError(`${placeOf(group)}: the picture is empty or of no known kind.`);
  return bytes;
}

/** What is said of the picture: the .txt, or `caption` of the .json. Throws InputError where nothing is. */
export function captionOf(group: MemberGroup): string {
  const text = bytesOf(group, 'text');
  const said = text ? decoded(text, group) : captionIn(group);
  if (said.trim() === '') throw new InputError(`${placeOf(group)}: there is no text of this name.`);
  return said.trim();
}

function captionIn(group: MemberGroup): string {
  const json = bytesOf(group, 'json');
  if (json === null) return '';
  let value: unknown;
  try {
    value = JSON.parse(decoded(json, group));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${placeOf(group)}: the .json beside it is not valid.`);
  }
  const caption = typeof value === 'object' && value !== null ? (value as { caption?: unknown }).caption : undefined;
  return typeof caption === 'string' ? caption : '';
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decoded(bytes: Uint8Array, group: MemberGroup): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new InputError(`${placeOf(group)}: the text beside it is not UTF-8.`);
  }
}
