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
    // Program sizes that only larger devices have are checked too.
    const names = ['maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupStorageSize', 'maxStorageBuffersPerShaderStage'];
    const requiredLimits = Object.fromEntries(names.map((name) => [name, adapter.limits[name]]));
    const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
    const skipped = {};
    const faults = new Map();
    let pipelines = 0;
    const all = programs(folder);
    for (const { name, code, constants } of all) {
        const add = (fault, where) => faults.set(fault, [...(faults.get(fault) ?? []), where]);
        const needs = [[/^enable f16;/m, 'shader-f16'], [/^enable subgroups;/m, 'subgroups']];
        const missing = needs.find(([directive, feature]) => directive.test(code) && !features.includes(feature))?.[1];
        const storage = code.match(/var<storage/g)?.length ?? 0;
        const [width, most] = [constants.WIDTH ?? 1, device.limits.maxComputeInvocationsPerWorkgroup];
        const reason = missing
            ?? (width > most && `${most} invocations at most`)
            ?? null;
        const few = storage > device.limits.maxStorageBuffersPerShaderStage && `${device.limits.maxStorageBuffersPerShaderStage} storage buffers at most`;
        if (reason || few) {
            skipped[reason || few] = (skipped[reason || few] ?? 0) + 1;
            continue;
        }
        device.pushErrorScope('validation');
        const module = device.createShaderModule({ code });
        const { messages } = await module.getCompilationInfo();
        await device.popErrorScope();
        for (const { type, lineNum, message } of messages) {
            add(`${type}: ${message}: ${code.split('\n')[lineNum - 1]?.trim()}`, `${name}:${lineNum}`);
        }
        if (messages.length === 0) {
            device.pushErrorScope('validation');
            device.createComputePipeline({ layout: 'auto', compute: { module, constants } });
            const error = await device.popErrorScope();
            pipelines += 1;
            if (error) {
                add(`pipeline: ${error.message.split('\n')[0]}`, name);
            }
        }
    }
    for (const [fault, places] of faults) {
        say(`${fault}\n    in ${places.length} texts, such as ${places[0]}`);
    }
    for (const [reason, count] of Object.entries(skipped)) {
        say(`skipped ${count}: ${reason}`);
    }
    say(`Tint: ${all.length} texts, ${pipelines} pipelines, ${faults.size} faults, ${Object.values(skipped).reduce((a, b) => a + b, 0)} skipped`);
    return all.length > 0 && faults.size === 0;
}
