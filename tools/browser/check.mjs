// Every WGSL text in a folder, through Tint: the compiler of Chrome, here in Dawn for Node (npm package `webgpu`).
// Usage: node check.mjs FOLDER. Exit code 1 when a text is refused, 3 when there is no adapter.
import fs from 'node:fs';
import path from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const folder = process.argv[2];
// In a variable of its own: Dawn does not survive the instance being collected.
const gpu = create([]);
const adapter = await gpu.requestAdapter();
if (!adapter) {
    console.error('no adapter that Dawn accepts');
    process.exit(3);
}
const features = ['subgroups', 'shader-f16'].filter((feature) => adapter.features.has(feature));
const device = await adapter.requestDevice({ requiredFeatures: features });

let checked = 0;
let skipped = 0;
const faults = new Map();
for (const name of fs.readdirSync(folder).sort()) {
    const code = fs.readFileSync(path.join(folder, name), 'utf8');
    const lacks = (directive, feature) => code.includes(`enable ${directive};`) && !features.includes(feature);
    if (lacks('f16', 'shader-f16') || lacks('subgroups', 'subgroups')) {
        skipped += 1;
        continue;
    }
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    await device.popErrorScope();
    checked += 1;
    for (const { type, lineNum, message } of messages) {
        const key = `${type}: ${message}: ${code.split('\n')[lineNum - 1]?.trim()}`;
        faults.set(key, [...(faults.get(key) ?? []), `${name}:${lineNum}`]);
    }
}
for (const [fault, places] of faults) {
    console.log(`${fault}\n    in ${places.length} texts, such as ${places[0]}`);
}
console.log(`Tint on ${adapter.info.description}: ${checked} texts, ${faults.size} faults, ${skipped} skipped for a missing feature`);
// Dawn's own threads do not always survive an orderly end.
process.reallyExit(faults.size > 0 ? 1 : 0);
