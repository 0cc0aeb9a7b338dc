/** The page. It shows and asks; everything that takes time happens in the engine's worker. */
import { Engine, EngineError } from './engine/client.js';
import { AUTO, type Device, type Model, type Progress } from './engine/protocol.js';
import { byId, chosen, make, radio } from './view/dom.js';
import { isModelFile, Models } from './view/models.js';
import { drawEmoji, Pictures } from './view/pictures.js';
import { clearReport, showReport } from './view/results.js';
import { Tasks } from './view/tasks.js';

const error = byId('error', HTMLParagraphElement);
const dead = byId('dead', HTMLParagraphElement);
const run = byId('run', HTMLButtonElement);
const stop = byId('stop', HTMLButtonElement);
const progress = byId('progress', HTMLDivElement);
const devices = byId('devices', HTMLFieldSetElement);

const engine = new Engine(() => {
  dead.hidden = false;
  // It had the model.
  onModel(null);
});
const pictures = new Pictures(() => tasks.update());
const tasks = new Tasks(pictures);
const models = new Models(engine, { during, onModel });
let model: Model | null = null;
let isRunning = false;

/** Work under way, by number, with what it tells. */
const underWay = new Map<number, string>();
let works = 0;

/** Does work and shows how far it is; what goes wrong is told in a sentence, and undefined comes back. */
async function during<T>(
  what: string,
  work: (onProgress: (progress: Progress) => void) => Promise<T>,
): Promise<T | undefined> {
  const number = ++works;
  underWay.set(number, what);
  showProgress({ what, done: 0, total: null });
  try {
    return await work(showProgress);
  } catch (failure) {
    tell(failure);
    return undefined;
  } finally {
    underWay.delete(number);
    const [others] = underWay.values();
    if (others === undefined) progress.hidden = true;
    else showProgress({ what: others, done: 0, total: null });
    update();
  }
}

function showProgress({ what, done, total }: Progress): void {
  const bar = byId('bar', HTMLProgressElement);
  progress.hidden = false;
  byId('doing', HTMLSpanElement).textContent = what;
  if (total === null || total === 0 || done > total) bar.removeAttribute('value');
  else bar.value = done / total;
  stop.hidden = underWay.size === 0;
}

/** Shows a failure, or takes the last one away. */
function tell(failure: unknown): void {
  error.hidden = failure === null;
  error.textContent = failure instanceof Error ? failure.message : String(failure ?? '');
  // Whatever else went wrong, a new engine is a way out.
  if (failure instanceof EngineError && !failure.isRefusal) dead.hidden = false;
}

function onModel(opened: Model | null): void {
  model = opened;
  tasks.allow(opened?.tasks ?? null);
  update();
}

function update(): void {
  run.disabled = isRunning || model === null || model.tasks[tasks.task] !== null;
  stop.hidden = underWay.size === 0;
}

async function begin(): Promise<void> {
  dead.hidden = true;
  const found = await during('Starting the engine', () => engine.call('devices', null));
  if (!found) return;
  showDevices(found);
  await models.begin();
}

function showDevices(found: readonly Device[]): void {
  const before = chosen('device') ?? AUTO;
  const best = found.find(({ works }) => works)?.name;
  const legend = devices.querySelector('legend') as HTMLLegendElement;
  devices.replaceChildren(
    legend,
    radio('device', AUTO, AUTO, {
      note: best === undefined ? 'Nothing here can compute.' : `Takes ${best}, or the next one that starts.`,
      checked: before === AUTO,
    }),
    ...found.map(({ name, works, note }) =>
      radio('device', name, name, { note, disabled: !works, checked: works && name === before }),
    ),
  );
}

/** Ends whatever the engine does, and starts it again. */
async function restart(why: string): Promise<void> {
  engine.stop(why);
  // The next engine has to open it again; until then there is nothing to run.
  onModel(null);
  await begin();
}

byId('job', HTMLFormElement).addEventListener('submit', async (event) => {
  event.preventDefault();
  if (isRunning || run.disabled) return;
  let job: ReturnType<typeof tasks.job>;
  try {
    job = tasks.job();
  } catch (failure) {
    tell(failure);
    return;
  }
  isRunning = true;
  update();
  clearReport();
  const names = pictures.all.map(({ name }) => name);
  const device = chosen('device') ?? AUTO;
  const report = await during('Computing', (onProgress) => engine.call('run', { device, job }, onProgress));
  if (report) {
    showReport(report, job, names);
    dead.hidden = true;
  }
  isRunning = false;
  update();
});
byId('tasks', HTMLFieldSetElement).addEventListener('change', () => {
  clearReport();
  update();
});
stop.addEventListener('click', () => void restart('It was stopped.'));
byId('restart', HTMLButtonElement).addEventListener('click', () => void restart('The engine was restarted.'));

/** Takes files of any kind: pictures, and files of a model by their names. */
async function take(files: readonly File[]): Promise<void> {
  const ofModel = files.filter(isModelFile);
  const refused: string[] = [];
  for (const file of files.filter((f) => !ofModel.includes(f))) {
    await pictures.add(file).catch((failure: Error) => refused.push(failure.message));
  }
  if (refused.length > 0) tell(refused.join(' '));
  if (ofModel.length > 0) await models.keep(ofModel);
}

const chooser = byId('picture-files', HTMLInputElement);
chooser.addEventListener('change', async () => {
  const files = [...(chooser.files ?? [])];
  chooser.value = '';
  await take(files);
});
byId('emoji-form', HTMLFormElement).addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = byId('emoji', HTMLInputElement).value.trim();
  if (text !== '') await drawEmoji(text).then((file) => pictures.add(file), tell);
});
// What a person does next takes the last error away; selecting its text does not.
for (const kind of ['submit', 'change', 'drop', 'paste', 'click']) {
  document.addEventListener(
    kind,
    ({ target }) => {
      if (kind !== 'click' || (target instanceof Element && target.closest('button'))) tell(null);
    },
    true,
  );
}
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
document.addEventListener('dragleave', () => document.body.classList.remove('dragging'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  void take([...(event.dataTransfer?.files ?? [])]);
});
document.addEventListener('paste', (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length > 0) void take(files);
});

if (!globalThis.crossOriginIsolated) {
  byId('remark', HTMLParagraphElement).replaceChildren(
    make('small', {}, 'This page has no shared memory, so that the processor computes with one thread.'),
  );
}
await begin();
