#!/usr/bin/env bash
# Makes one portable archive for Linux on x86-64: our build, this Node, Dawn, the fixtures that conformance needs and
# run.sh, which runs conformance and benchmarks on a machine's GPU without network. Usage:
#   bench/pack.sh [--with-swiftshader] [FILE]      (default: out/azulejo-gpu.tar.xz)
set -euo pipefail
cd "$(dirname "$0")/.."
software=0 target=out/azulejo-gpu.tar.xz
while [ $# -gt 0 ]; do
  case $1 in
    --with-swiftshader) software=1 ;;
    --help|-h) echo "usage: bench/pack.sh [--with-swiftshader] [FILE]      (default: out/azulejo-gpu.tar.xz)"; exit 0 ;;
    -*) echo "There is no flag $1; usage: bench/pack.sh [--with-swiftshader] [FILE]" >&2; exit 2 ;;
    *) target=$1 ;;
  esac
  shift
done
LIMIT=60000000
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || { echo "The archive is made on Linux on x86-64, because it holds this Node." >&2; exit 2; }
[ -f dist/bench/pack/probe.js ] || { echo "There is no build in dist/; run npm run build first." >&2; exit 2; }
for package in webgpu benchmark fast-check @sparticuz/chromium; do
  [ -d "node_modules/$package" ] || { echo "The package $package is not installed; run npm ci first." >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work" "$target.tmp"' EXIT
root=$work/azulejo-gpu
mkdir -p "$root"/bin "$root"/lib/vulkan "$root"/app/bench "$root"/app/test/fixtures

# Debugging symbols are half of the size; the dynamic ones stay.
copy_stripped() { cp -L "$1" "$2"; strip --strip-unneeded "$2" 2>/dev/null || echo "strip is not here: $2 stays large" >&2; chmod 755 "$2"; }
node=$(node -p process.execPath)
copy_stripped "$node" "$root/bin/node"
# Of the C++ runtime that Node and Dawn ask for; used only where the system's does not do.
for library in libstdc++.so.6 libgcc_s.so.1; do
  found=$(ldd "$node" | sed -n "s/.*$library => \([^ ]*\).*/\1/p")
  [ -z "$found" ] || copy_stripped "$found" "$root/lib/$library"
done

# Our build without source maps, declarations and what only a page uses.
tar -cf - --exclude='*.map' --exclude='*.d.ts' --exclude=dist/browser --exclude=dist/web dist | tar -xf - -C "$root/app"
cp package.json "$root/app/"
cp -r bench/peers "$root/app/bench/"
cp -r test/fixtures/parity "$root/app/test/fixtures/"
cp LICENSE NOTICE "$root/"

# The packages that these programs import, and nothing of Dawn for other systems.
modules=$root/app/node_modules
for package in ndarray iota-array is-buffer fast-check pure-rand benchmark lodash platform; do
  mkdir -p "$modules/$package"
  tar -chf - --exclude='*.map' --exclude='*.d.ts' --exclude='*.md' -C "node_modules/$package" . | tar -xf - -C "$modules/$package"
done
mkdir -p "$modules/webgpu/dist/linux-x64"
cp node_modules/webgpu/{index.js,package.json,LICENSE.md} "$modules/webgpu/"
copy_stripped node_modules/webgpu/dist/linux-x64/dawn.node "$modules/webgpu/dist/linux-x64/dawn.node"

# A Vulkan loader for systems without one; it comes with SwiftShader.
mkdir "$work/software"
node --input-type=module -e '
  import { readFileSync, writeFileSync } from "node:fs";
  import { brotliDecompressSync } from "node:zlib";
  writeFileSync(process.argv[1], brotliDecompressSync(readFileSync("node_modules/@sparticuz/chromium/bin/swiftshader.tar.br")));
' "$work/swiftshader.tar"
tar -xf "$work/swiftshader.tar" -C "$work/software"
loader=$(find "$work/software" -name libvulkan.so.1 | head -n 1)
copy_stripped "$loader" "$root/lib/vulkan/libvulkan.so.1"
if [ "$software" = 1 ]; then
  mkdir "$root/swiftshader"
  for file in libvk_swiftshader.so libvulkan.so.1 vk_swiftshader_icd.json; do
    cp "$(dirname "$loader")/$file" "$root/swiftshader/"
  done
fi
cp bench/pack/run.sh "$root/run.sh"
chmod 755 "$root/run.sh"

mkdir -p "$(dirname "$target")"
echo "Compressing $(du -sm "$root" | cut -f1) MB, which takes a minute or two."
tar -cf - --owner=0 --group=0 -C "$work" azulejo-gpu | xz -T0 -9 >"$target.tmp"
mv "$target.tmp" "$target"
size=$(stat -c %s "$target")
echo "$target: $((size / 1000000)) MB, $(du -sm "$root" | cut -f1) MB unpacked; tar -xf it anywhere and call azulejo-gpu/run.sh --help"
[ "$size" -le "$LIMIT" ] || { echo "It is larger than $((LIMIT / 1000000)) MB." >&2; exit 1; }
