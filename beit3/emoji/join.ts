/**
 * Which picture of an icon set shows which emoji. Pure functions over the parsed JSON of the packages
 * `@iconify-json/*` (icons, aliases, table of code points) and `emojibase-data` (names and tags).
 */

/** One emoji as the English `data.json` of emojibase-data lists it; the fields that are used here. */
export interface EmojibaseEmoji {
  hexcode: string;
  emoji: string;
  label: string;
  tags?: string[];
  group?: number;
  subgroup?: number;
}

/** One image with its text. */
export interface EmojiEntry {
  style: string;
  /** Code points, upper case hexadecimal joined by `-`: the same for one emoji in every style. */
  hexcode: string;
  emoji: string;
  /** The English name, such as `waving hand`. */
  label: string;
  /** English keywords; may be empty. */
  tags: string[];
  /** English name of the group, such as `people & body`, and of the part of it, such as `open hands`. */
  group: string;
  subgroup: string;
  /** Which image of the corpus it is: the entry's own index. */
  image: number;
}

/** Box and orientation of an icon; what an icon leaves out it has from its set, else 0, 16 or false. */
export interface IconBox {
  left?: number;
  top?: number;
  width?: number;
  height?: number;
  /** Quarter turns clockwise, applied after the flips. */
  rotate?: number;
  hFlip?: boolean;
  vFlip?: boolean;
}

/** The `icons.json` of an iconify package. */
export interface IconSet extends IconBox {
  prefix: string;
  icons: Record<string, IconBox & { body: string }>;
  aliases?: Record<string, IconBox & { parent: string }>;
}

/** An icon with everything that its aliases and its set say about it filled in. */
export type ResolvedIcon = Required<IconBox> & { body: string };

/** One emoji of one set: the emoji and the name of its icon (or alias) in the set. */
export interface JoinedEmoji {
  emoji: EmojibaseEmoji;
  icon: string;
}

/** emojibase's number of the group of components: skin tones and hair. */
const COMPONENT_GROUP = 2;

/**
 * The emoji that can have a picture of their own, in the order given: component emoji (skin tones, hair, and the
 * regional indicators, which have no group) are left out. Variants of skin tone are nested in their base emoji in
 * the data, so they never appear here.
 */
export function pictorialEmoji(data: readonly EmojibaseEmoji[]): EmojibaseEmoji[] {
  return data.filter((e) => e.group !== undefined && e.group !== COMPONENT_GROUP);
}

/** The name that icon sets give to a label: `Côte d’Ivoire` is `c-te-d-ivoire`, `keycap: 1` is `keycap-1`. */
export function labelSlug(label: string): string {
  return label
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/**
 * A sequence of code points (hexadecimal, joined by `-`) in the spelling that both sides share: lower case and
 * without the variation selector fe0f, which sets write or omit as they like. Joiners (200d) keep sequences apart.
 */
export function codePointKey(hexcode: string): string {
  return hexcode
    .toLowerCase()
    .split('-')
    .filter((point) => point !== 'fe0f')
    .join('-');
}

/**
 * Finds the icon of each emoji in a set: by code point where `chars` (the package's table from code points to icon
 * names, empty for some sets) knows it, else by the slug of its label. Emoji that the set does not draw are left out.
 *
 * A slug is only a name, so in the sets without a table a few pairs are wrong: `cricket` (the insect) names the
 * sport in two of them, `UP! button` the arrow `upwards button` in three, and both `keycap: #` and `keycap: *` are
 * `keycap`. That is 6 of 12,005 pairs, none of them in twemoji.
 */
export function joinIconSet(
  emoji: readonly EmojibaseEmoji[],
  set: IconSet,
  chars: Readonly<Record<string, string>>,
): JoinedEmoji[] {
  const byCodePoint = new Map(Object.entries(chars).map(([points, name]) => [codePointKey(points), name]));
  const joined: JoinedEmoji[] = [];
  for (const e of emoji) {
    const names = [byCodePoint.get(codePointKey(e.hexcode)), labelSlug(e.label)];
    const icon = names.find((name) => name !== undefined && hasIcon(set, name));
    if (icon !== undefined) joined.push({ emoji: e, icon });
  }
  return joined;
}

function hasIcon(set: IconSet, name: string): boolean {
  return Object.hasOwn(set.icons, name) || Object.hasOwn(set.aliases ?? {}, name);
}

/**
 * The icon of that name with its aliases followed. Along the chain flips cancel in pairs and quarter turns add up;
 * of the sizes the outermost one given wins. Undefined for a name that the set lacks or that is an endless chain.
 */
export function resolveIcon(set: IconSet, name: string): ResolvedIcon | undefined {
  const chain: IconBox[] = [];
  let current = name;
  while (!Object.hasOwn(set.icons, current)) {
    if (!Object.hasOwn(set.aliases ?? {}, current) || chain.length > 16) return undefined;
    const alias = set.aliases![current];
    chain.push(alias);
    current = alias.parent;
  }
  const icon = set.icons[current];
  chain.push(icon);
  const size = (field: 'left' | 'top' | 'width' | 'height', fallback: number) =>
    chain.find((link) => link[field] !== undefined)?.[field] ?? set[field] ?? fallback;
  return {
    body: icon.body,
    left: size('left', 0),
    top: size('top', 0),
    width: size('width', 16),
    height: size('height', 16),
    rotate: chain.reduce((turns, link) => turns + (link.rotate ?? 0), 0) % 4,
    hFlip: chain.filter((link) => link.hFlip).length % 2 === 1,
    vFlip: chain.filter((link) => link.vFlip).length % 2 === 1,
  };
}
