"""Reads tar shards in Python's own tarfile, as a stream, member by member: the peer of bench/stream.ts.

Takes the files as arguments and prints one JSON line {"seconds", "processor" (seconds of all threads), "samples" (pictures
with a text), "peak" (resident MiB)}. Members of one name are put together; nothing is decoded, cut into tokens or shuffled.
"""
import json
import sys
import tarfile
import time



def peak():
    # Not that of getrusage, which begins with the memory of the process that started this one.
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))


PICTURES = ('.jpg', '.jpeg', '.png', '.webp')
start, processor = time.perf_counter(), time.process_time()
samples = 0
for path in sys.argv[1:]:
    key, parts = None, {}
    with tarfile.open(path, 'r|') as archive:
        for member in archive:
            # Or it remembers every member.
            archive.members = []
            if not member.isfile():
                continue
            name, _, ending = member.name.rpartition('.')
            if name != key:
                samples += 'picture' in parts and 'txt' in parts
                key, parts = name, {}
            ending = f'.{ending.lower()}'
            if ending in PICTURES or ending == '.txt':
                parts['picture' if ending in PICTURES else 'txt'] = archive.extractfile(member).read()
    samples += 'picture' in parts and 'txt' in parts
print(json.dumps({
    'seconds': time.perf_counter() - start,
    'processor': time.process_time() - processor,
    'samples': samples,
    'peak': peak(),
}))
