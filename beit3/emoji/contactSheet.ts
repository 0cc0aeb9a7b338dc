/** A page that shows what was found: a row a query, with the pictures that came first. One file, nothing to load. */

export interface FoundPicture {
  /** A `data:` address. */
  readonly picture: string;
  readonly label: string;
  /** Cosine, -1 to 1. */
  readonly similarity: number;
  /** Whether it is what was looked for. */
  readonly correct: boolean;
}

export interface ContactRow {
  readonly query: string;
  /** The picture that was looked for, and at which place it came, counted from 1. */
  readonly wanted: string;
  readonly rank: number;
  /** Best first. */
  readonly found: readonly FoundPicture[];
}

/** Pictures with what a model said of them. */
export interface Card {
  /** `data:` addresses. */
  readonly pictures: readonly string[];
  readonly text: string;
  readonly said: readonly { readonly said: string; readonly correct: boolean }[];
}

export interface ContactSheet {
  readonly title: string;
  /** Lines of text under the title. */
  readonly summary: readonly string[];
  /** What stands before the rows. */
  readonly cards?: readonly Card[];
  readonly rows: readonly ContactRow[];
}

const STYLE = `
  body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #222; background: #fff; }
  table { border-collapse: collapse; width: 100%; }
  th, td { padding: .5em .4em; text-align: center; vertical-align: top; border-top: 1px solid #ddd; }
  th:first-child, td:first-child { text-align: left; }
  img { width: 64px; height: 64px; image-rendering: pixelated; border: 3px solid transparent; border-radius: 6px; }
  .correct img { border-color: #1a8f3c; }
  .correct small { color: #1a8f3c; font-weight: bold; }
  small { display: block; color: #777; font-size: 12px; overflow-wrap: anywhere; }
  .wanted { background: #f6f6f6; }
  .cards { display: flex; flex-wrap: wrap; gap: .8em; margin: 1em 0; }
  .cards figure { margin: 0; padding: .5em; width: 10em; border: 1px solid #ddd; border-radius: 6px; }
  .cards .yes { color: #1a8f3c; font-weight: bold; }
`;

/** The page as HTML; every text in it is escaped. */
export function contactSheet({ title, summary, cards = [], rows }: ContactSheet): string {
  const places = Math.max(0, ...rows.map((row) => row.found.length));
  const heads = ['Query', 'Looked for', ...Array.from({ length: places }, (_, i) => String(i + 1))];
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${STYLE}</style>`,
    '</head>',
    '<body>',
    `<h1>${escapeHtml(title)}</h1>`,
    ...summary.map((line) => `<p>${escapeHtml(line)}</p>`),
    ...(cards.length > 0 ? ['<div class="cards">', ...cards.map(card), '</div>'] : []),
    '<table>',
    `<tr>${heads.map((head) => `<th>${head}</th>`).join('')}</tr>`,
    ...rows.map(tableRow),
    '</table>',
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function tableRow({ query, wanted, rank, found }: ContactRow): string {
  const cells = found.map(
    ({ picture, label, similarity, correct }) =>
      `<td${correct ? ' class="correct"' : ''}>${image(picture, label)}<small>${correct ? '\u2713 ' : ''}${escapeHtml(label)}</small><small>${similarity.toFixed(2)}</small></td>`,
  );
  const place = rank <= found.length ? '' : `<small>at place ${rank}</small>`;
  return `<tr><td>${escapeHtml(query)}${place}</td><td class="wanted">${image(wanted, query)}</td>${cells.join('')}</tr>`;
}

function card({ pictures, text, said }: Card): string {
  const lines = said.map(
    ({ said, correct }) =>
      `<small${correct ? ' class="yes"' : ''}>${correct ? '\u2713' : '\u2717'} ${escapeHtml(said)}</small>`,
  );
  return `<figure>${pictures.map((picture) => image(picture, text)).join('')}<small>${escapeHtml(text)}</small>${lines.join('')}</figure>`;
}

function image(address: string, alternative: string): string {
  return `<img src="${escapeHtml(address)}" alt="${escapeHtml(alternative)}">`;
}

/** Text as it may stand between tags and inside quoted attributes. */
export function escapeHtml(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => names[character]);
}
