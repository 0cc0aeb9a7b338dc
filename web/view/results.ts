/** What the model said, for people. */
import type { Job, Report, Said } from '../engine/protocol.js';
import { byId, duration, make } from './dom.js';

/** Shows a report of a job; `names` are those of the pictures that were searched. */
export function showReport(report: Report, job: Job, names: readonly string[]): void {
  const { device, loadMs, runMs } = report;
  const loading = loadMs === null ? '' : `, after ${duration(loadMs)} for the weights`;
  byId('result', HTMLDivElement).replaceChildren(
    content(report.said, job, names),
    make('p', { className: 'timing' }, `${device}: ${duration(runMs)}${loading}`),
  );
}

export function clearReport(): void {
  byId('result', HTMLDivElement).replaceChildren();
}

const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

function content(said: Said, job: Job, names: readonly string[]): HTMLElement {
  switch (said.task) {
    case 'classify':
      return table(
        ['Class', 'Probability'],
        said.classes.map(({ label, probability }) => [label, percent(probability)]),
      );
    case 'vqa':
      return table(
        ['Answer', 'Score'],
        said.answers.map(({ answer, score }) => [answer, percent(score)]),
      );
    case 'nlvr2': {
      const { answer, probability } = said.judgement;
      return make('p', { className: 'said' }, `${answer ? 'true' : 'false'} (${percent(probability)} true)`);
    }
    case 'caption':
      return make('p', { className: 'said' }, said.caption.text);
    case 'retrieve': {
      const candidates = 'texts' in job ? job.texts : names;
      return table(
        ['texts' in job ? 'Text' : 'Picture', 'Similarity'],
        said.found.map(({ index, similarity }) => [candidates[index], similarity.toFixed(3)]),
      );
    }
  }
}

function table(head: readonly string[], rows: readonly (readonly [string, string])[]): HTMLTableElement {
  const headings = head.map((text) => make('th', { scope: 'col' }, text));
  const body = rows.map(([text, number]) =>
    make('tr', {}, make('td', {}, text), make('td', { className: 'number' }, number)),
  );
  return make('table', {}, make('thead', {}, make('tr', {}, ...headings)), make('tbody', {}, ...body));
}
