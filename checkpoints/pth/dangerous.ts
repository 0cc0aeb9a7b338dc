import type { PyGlobal } from './pickle.js';

/** Modules from which no checkpoint has a reason to call anything. */
const MODULES = new Set(
  `os posix nt posixpath ntpath subprocess sys importlib runpy shutil socket pty ctypes _ctypes pickle _pickle cPickle
  dill cloudpickle joblib marshal code codeop commands webbrowser asyncio multiprocessing threading _thread signal pip
  platform popen2 timeit cProfile profile pdb bdb trace doctest idlelib urllib urllib2 requests http httplib ftplib
  smtplib xmlrpc socketserver tempfile operator _operator inspect ast linecache zipimport pkgutil pydoc site setuptools
  distutils lib2to3 venv ensurepip fileinput py_compile compileall tarfile zipfile sqlite3 atexit gc resource`.split(
    /\s+/,
  ),
);

/** Single functions, and everything below a name that ends with a dot. */
const NAMES = `_io.open io.open _io.FileIO io.FileIO io.open_code functools.reduce types.FunctionType types.CodeType
  types.LambdaType types.MethodType logging.config. codecs.open torch.load torch.save torch.serialization.load
  torch.storage._load_from_bytes torch.hub. torch.jit. torch.package. torch.utils.cpp_extension. torch.ops.
  torch.utils.collect_env. torch.testing. torch.multiprocessing. numpy.load numpy.save numpy.fromfile numpy.testing.
  numpy.f2py. numpy.lib. pandas.eval pandas.read_pickle pandas.io.`.split(/\s+/);

/** What TorchScript writes around lists and values with types; each gives its first argument. */
export const SCRIPTED_DATA = ['intlist', 'tensorlist', 'doublelist', 'boollist']
  .map((kind) => `torch.jit._pickle.build_${kind}`)
  .concat('torch.jit._pickle.restore_type_tag');

/** Constructors of plain data among Python's built-in names. */
export const PLAIN_BUILTINS: ReadonlySet<string> = new Set(
  'object int float bool complex str unicode bytes bytearray list tuple dict set frozenset slice range xrange type'.split(
    ' ',
  ),
);

/** Whether a call of this would run code, open files or the like in Python. */
export function isDangerous({ module, name, path }: PyGlobal): boolean {
  if (module === 'builtins' || module === '__builtin__') return /^[a-z_]/.test(name) && !PLAIN_BUILTINS.has(name);
  if (SCRIPTED_DATA.includes(path)) return false;
  if (MODULES.has(module.split('.')[0])) return true;
  return NAMES.some((entry) => (entry.endsWith('.') ? `${path}.`.startsWith(entry) : path === entry));
}
