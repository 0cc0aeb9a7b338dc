#!/bin/sh
# Runs the conformance suite and the benchmarks of this archive on the GPU of this machine, without network, and writes
# one table, results.md. See --help.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
adapter=; quick=; only=kernels,dispatch,model,train,parity,conformance; out=$here/results; limit=300; batch=

usage() {
  cat <<TEXT
usage: ./run.sh [--adapter NAME] [--only PARTS] [--quick] [--batch N] [--limit SECONDS] [--out FOLDER]
  --adapter NAME    a part of the GPU's name; swiftshader is the one in software, if the archive has it
  --only PARTS      with commas between: kernels, dispatch, model, train, parity, conformance, cpu (default: all but cpu)
  --quick           small problems: to see that everything works
  --batch N         images of the whole models (default: 32)
  --limit SECONDS   after which each program is stopped (default: 300)
  --out FOLDER      where figures and results.md are written (default: results beside this script)
PyTorch is measured beside it when python3 has it; AZULEJO_PYTHON names another interpreter.
TEXT
}

fail() { echo "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --help|-h) usage; exit 0 ;;
    --quick) quick=1; shift ;;
    --adapter|--only|--out|--limit|--batch)
      [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value; see --help."
      case $1 in
        --adapter) adapter=$2 ;; --only) only=$2 ;; --out) out=$2 ;; --limit) limit=$2 ;; --batch) batch=$2 ;;
      esac
      shift 2 ;;
    *) fail "There is no flag $1; see --help." ;;
  esac
done
for number in $limit $batch; do
  case $number in *[!0-9]*|'') fail "--limit and --batch must be whole numbers, got $number." ;; esac
done
for part in $(echo "$only" | tr ',' ' '); do
  case $part in
    kernels|dispatch|model|train|parity|conformance|cpu) ;;
    *) fail "There is no part $part; expected some of kernels, dispatch, model, train, parity, conformance, cpu." ;;
  esac
done
wants() { case ",$only," in *",$1,"*) return 0 ;; esac; return 1; }
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "This archive is for Linux on x86-64, this is $(uname -s) on $(uname -m)."
mkdir -p "$out" && rm -f "$out"/*.json "$out"/*.log || fail "Cannot write to $out; give another folder with --out."
out=$(cd "$out" && pwd)

# Node: ours, with our copies of the C++ libraries where the system's are missing or older.
node=$here/bin/node
"$node" --version >/dev/null 2>&1 || {
  LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; export LD_LIBRARY_PATH
  "$node" --version >/dev/null 2>&1 || fail "The packed Node does not run here: $("$node" --version 2>&1 | head -n 1)."
}

# The system's libraries by name, and where containers put those of NVIDIA.
find_library() {
  pattern=$(echo "$1" | sed 's/\./\\./g')
  { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | sed -n "s/.*[[:space:]]$pattern .*x86-64.* => //p" | head -n 1 | grep . && return
  for folder in /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do
    [ -e "$folder/$1" ] && echo "$folder/$1" && return
  done
}
[ -n "$(find_library libvulkan.so.1)" ] || {
  LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib/vulkan; export LD_LIBRARY_PATH
  echo "The system has no Vulkan loader: the packed one is used."
}

probe() { "$node" "$here/app/dist/bench/pack/probe.js" ${adapter:+"$adapter"} 2>"$out/probe.log"; }

# A driver library that no ICD file names, as in containers for NVIDIA: we name it.
name_driver() {
  library=$(find_library "$1"); [ -n "$library" ] || return 1
  VK_ICD_FILENAMES=$out/driver_icd.json; VK_DRIVER_FILES=$VK_ICD_FILENAMES; export VK_ICD_FILENAMES VK_DRIVER_FILES
  echo "{\"file_format_version\": \"1.0.0\", \"ICD\": {\"library_path\": \"$library\", \"api_version\": \"1.3.0\"}}" >"$VK_ICD_FILENAMES"
  folder=$(dirname "$library")
  case ":$LD_LIBRARY_PATH:" in *":$folder:"*) ;; *)
    before=$LD_LIBRARY_PATH; LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder; export LD_LIBRARY_PATH ;;
  esac
  gpu=$(probe) && return 0
  [ -n "${before+x}" ] && LD_LIBRARY_PATH=$before && unset before
  unset VK_ICD_FILENAMES VK_DRIVER_FILES; return 1
}

# One driver's ICD file after the other, also in folders that the loader may not look into.
use_icd() {
  for file in /etc/vulkan/icd.d/*.json /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json \
    /usr/local/nvidia/share/vulkan/icd.d/*.json; do
    [ -e "$file" ] || continue
    VK_ICD_FILENAMES=$file; VK_DRIVER_FILES=$file; export VK_ICD_FILENAMES VK_DRIVER_FILES
    gpu=$(probe) && return 0
    unset VK_ICD_FILENAMES VK_DRIVER_FILES
  done
  return 1
}

if [ "$adapter" = swiftshader ]; then
  [ -d "$here/swiftshader" ] || fail "This archive has no SwiftShader; make it with bench/pack.sh --with-swiftshader."
  AZULEJO_SWIFTSHADER=$here/swiftshader; export AZULEJO_SWIFTSHADER
fi
gpu=$(probe) || {
  [ -z "$VK_ICD_FILENAMES$VK_DRIVER_FILES" ] &&
    { use_icd || name_driver libGLX_nvidia.so.0 || name_driver libEGL_nvidia.so.0; }
} || {
  drivers=$(ls /etc/vulkan/icd.d/*.json /usr/share/vulkan/icd.d/*.json 2>/dev/null | tr '\n' ' ')
  if [ -n "$adapter" ]; then fail "No GPU named $adapter was found ($(tail -n 1 "$out/probe.log"))."
  elif [ -z "$drivers" ]; then fail "No Vulkan driver was found on this machine: install the GPU's, or run the container with its graphics libraries (NVIDIA_DRIVER_CAPABILITIES=all)."
  else fail "The Vulkan drivers of this machine (${drivers% }) offer no GPU in hardware: install the GPU's."
  fi
}
echo "GPU: $gpu"

{
  echo "gpu=$gpu"
  echo "kernel=$(uname -r)"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1 | sed 's/^/nvidia=/'
} >"$out/machine.txt"

failures=
# Runs a program with a time limit; its output goes to the screen and into a log.
run() {
  name=$1; shift
  echo; echo "== $name"
  { "$node" "$here/app/dist/bench/pack/limit.js" "$limit" "$node" "$@"; echo $? >"$out/status"; } 2>&1 | tee "$out/$name.log"
  status=$(cat "$out/status"); rm -f "$out/status"
  [ "$status" = 0 ] || { failures="$failures $name"; echo "== $name ended with $status"; }
}
cd "$here/app" || exit 1
dist=$here/app/dist
device="--device webgpu${adapter:+ --adapter $adapter}"
if [ -n "$quick" ]; then
  small=--quick; sizes="--batch ${batch:-1} --size 32 --layers 1 --repeats 1"; cases='--runs 1 --only add,linear'
else
  small=; sizes="--batch ${batch:-32} --repeats 10"; cases=
fi
# What follows is words, not names with spaces: it may be split.
wants kernels && run kernels "$dist/bench/kernels/main.js" $device $small --against --json "$out/kernels.json"
wants dispatch && run dispatch "$dist/bench/dispatch.js" $device $small --json "$out/dispatch.json"
if wants model; then
  run model "$dist/bench/model.js" $device $sizes --json "$out/model.json"
  run model-replay "$dist/bench/model.js" $device $sizes --replay --json "$out/model-replay.json"
  case $gpu in *"no float16"*) ;; *)
    run model-float16 "$dist/bench/model.js" $device $sizes --replay --dtype float16 --json "$out/model-float16.json" ;;
  esac
fi
if wants train; then
  run train "$dist/bench/train.js" $device $sizes --json "$out/train.json"
  run train-replay "$dist/bench/train.js" $device $sizes --replay --json "$out/train-replay.json"
  case $gpu in *"no float16"*) ;; *)
    run train-float16 "$dist/bench/train.js" $device $sizes --replay --dtype float16 --json "$out/train-float16.json" ;;
  esac
fi
if wants parity; then
  dumps=test/fixtures/parity/*.safetensors
  [ -z "$quick" ] || dumps=test/fixtures/parity/imageclassification.safetensors
  # Its JSON comes on stdout.
  run parity "$dist/cli/main.js" parity $dumps $device
fi
wants conformance && run conformance "$dist/test/conformance/main.js" $device $cases --json "$out/conformance.json"
wants cpu && run cpu "$dist/bench/kernels/main.js" --device wasm $small --against --json "$out/cpu.json"
echo
"$node" "$dist/bench/pack/table.js" "$out" >"$out/results.md" || failures="$failures table"
cat "$out/results.md"
echo
echo "written to $out/results.md"
[ -z "$failures" ] || { echo "Not all went well:$failures (their logs are in $out)." >&2; exit 1; }
