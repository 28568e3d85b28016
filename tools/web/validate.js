// Compiles texts: modules and compute pipelines. Dawn's null backend does this without any driver.

import fs from 'node:fs';
import path from 'node:path';

// The programs of an export, or the texts of a folder, whose last lines say what their overrides are: `// WIDTH 64`.
function programs(folder) {
    const read = (file) => fs.readFileSync(path.join(folder, file), 'utf8');
    if (fs.existsSync(path.join(folder, 'index.json'))) {
        return JSON.parse(read('index.json')).programs.map(({ name, file, constants }) => ({ name, constants, code: read(file) }));
    }
    const files = fs.readdirSync(folder).filter((file) => file.endsWith('.wgsl')).sort();
    return files.map((file) => {
        const code = read(file);
        const constants = [...code.matchAll(/^\/\/ ([A-Z_]+) ([0-9.]+)$/gm)].map(([, name, value]) => [name, Number(value)]);
        return { name: file, code, constants: Object.fromEntries(constants) };
    });
}

// Whether no text has a fault; warnings are faults too. `say` is told of each, and how many there were.
export async function validate(gpu, folder, say) {
    const adapter = await gpu.requestAdapter();
    const features = ['shader-f16', 'subgroups'].filter((feature) => adapter.features.has(feature));
    // As large as there are.
    const names = ['maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupStorageSize', 'maxStorageBuffersPerShaderStage'];
    const requiredLimits = Object.fromEntries(names.map((name) => [name, adapter.limits[name]]));
    const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
    const { maxComputeInvocationsPerWorkgroup: invocations, maxStorageBuffersPerShaderStage: buffers } = device.limits;
    const skipped = {};
    const skip = (reason) => {
        skipped[reason] = (skipped[reason] ?? 0) + 1;
    };
    const faults = new Map();
    const add = (fault, place) => faults.set(fault, [...(faults.get(fault) ?? []), place]);
    let [modules, pipelines] = [0, 0];
    for (const { name, code, constants } of programs(folder)) {
        const needs = [[/^enable f16;/m, 'shader-f16'], [/^enable subgroups;/m, 'subgroups']];
        const missing = needs.find(([directive, feature]) => directive.test(code) && !features.includes(feature))?.[1];
        if (missing) {
            skip(`texts for lack of ${missing}`);
            continue;
        }
        device.pushErrorScope('validation');
        const module = device.createShaderModule({ code });
        const { messages } = await module.getCompilationInfo();
        const refused = await device.popErrorScope();
        modules += 1;
        for (const { type, lineNum, message } of messages) {
            add(`${type}: ${message}: ${code.split('\n')[lineNum - 1]?.trim()}`, `${name}:${lineNum}`);
        }
        if (messages.length > 0 || refused) {
            if (messages.length === 0) {
                add(`module: ${refused.message.split('\n')[0]}`, name);
            }
            continue;
        }
        if ((constants.WIDTH ?? 1) > invocations) {
            skip(`pipelines of more than ${invocations} invocations`);
            continue;
        }
        if ((code.match(/var<storage/g)?.length ?? 0) > buffers) {
            skip(`pipelines of more than ${buffers} storage buffers`);
            continue;
        }
        device.pushErrorScope('validation');
        device.createComputePipeline({ layout: 'auto', compute: { module, constants } });
        const error = await device.popErrorScope();
        pipelines += 1;
        if (error) {
            add(`pipeline: ${error.message.split('\n')[0]}`, name);
        }
    }
    for (const [fault, places] of faults) {
        say(`${fault}\n    in ${places.length} texts, such as ${places[0]}`);
    }
    for (const [reason, count] of Object.entries(skipped)) {
        say(`skipped: ${count} ${reason}`);
    }
    say(`Tint: ${modules} texts, ${pipelines} pipelines, ${faults.size} faults`);
    return modules > 0 && faults.size === 0;
}
