/** TorchScript archives (`torch.jit.save`): a tree of modules beside their code, which is never looked at. */
import { InputError } from '../../core/errors.js';
import { TensorRef } from './objects.js';
import { PyObject } from './pickle.js';

const MAX_DEPTH = 200;
const MAX_PATH = 2000;
/** A module may stand in several places; honest files have some thousand attributes in all. */
const MAX_ATTRIBUTES = 1_000_000;

/** Whether an unpickled object is a TorchScript module. */
export function isScripted(value: unknown): value is PyObject {
  return value instanceof PyObject && value.type.module.split('.')[0] === '__torch__';
}

/**
 * The tensors of a TorchScript module and of those below it, by path: its state_dict(). Only the code tells buffers from
 * tensors that are plain attributes, so that these come too. Throws InputError for a tree that no module is.
 */
export function scriptedState(top: PyObject, file: string): Map<string, unknown> {
  const found = new Map<string, unknown>();
  const above = new Set<PyObject>();
  let attributes = 0;
  const visit = (module: PyObject, path: string): void => {
    const { state } = module;
    if (!(state instanceof Map)) return;
    attributes += state.size;
    if (above.has(module) || above.size > MAX_DEPTH || path.length > MAX_PATH || attributes > MAX_ATTRIBUTES)
      throw new InputError(`${file} is damaged: its modules are no tree; get it again.`);
    above.add(module);
    for (const [name, value] of state) {
      const inside = path === '' ? String(name) : `${path}.${String(name)}`;
      if (value instanceof TensorRef) found.set(inside, value);
      else if (isScripted(value)) visit(value, inside);
    }
    above.delete(module);
  };
  visit(top, '');
  return found;
}
