// Runs exported conformance cases on an implementation of WebGPU: shared by the command line for Dawn and by the page. It
// needs nothing but a `GPU` object and a way to read the export's files; docs/testing.md has their format.

import { judge } from './judge.js';

export const FORMAT = 1;

const BLOCK = 1 << 20;
const BLOCKS_KEPT = 64;
// After so many lost devices there is little to learn from another.
const MOST_LOST = 5;

// An export. `read(path, start, length)` gives bytes of a file, all of them without `start`.
export class Export {
    static async open(read) {
        const text = new TextDecoder().decode(await read('index.json'));
        let index;
        try {
            index = JSON.parse(text);
        } catch (error) {
            throw new Error(`index.json: ${error.message}`);
        }
        if (index.format !== FORMAT) {
            throw new Error(`index.json: format ${index.format}; this runner reads format ${FORMAT}`);
        }
        return new Export(read, index);
    }

    constructor(read, index) {
        Object.assign(this, { read, index });
        // Blobs of neighbouring cases are neighbours, so data is read in blocks.
        this.blocks = new Map();
    }

    // A range of data.bin.
    async blob([start, length]) {
        const bytes = new Uint8Array(length);
        for (let at = start; at < start + length; ) {
            const number = Math.floor(at / BLOCK);
            const block = await this.block(number);
            const part = block.subarray(at - number * BLOCK, start + length - number * BLOCK);
            if (part.length === 0) {
                throw new Error(`data.bin ends before byte ${start + length}`);
            }
            bytes.set(part, at - start);
            at += part.length;
        }
        return bytes;
    }

    async block(number) {
        let block = this.blocks.get(number);
        this.blocks.delete(number);
        block ??= await this.read('data.bin', number * BLOCK, BLOCK);
        this.blocks.set(number, block);
        if (this.blocks.size > BLOCKS_KEPT) {
            this.blocks.delete(this.blocks.keys().next().value);
        }
        return block;
    }

    async text(program) {
        return new TextDecoder().decode(await this.read(this.index.programs[program].file));
    }

    // Cases that one of the patterns selects (all, without any): beginning of a variant's name, and KEY=VALUE that are
    // in the name, as `softmax/stream:fill=ties`. With `limit`, so many of them, spread evenly.
    select(patterns = [], limit = Infinity) {
        const selected = this.index.cases.filter(({ name }) => patterns.length === 0 || patterns.some((p) => matches(p, name)));
        if (selected.length <= limit) {
            return selected;
        }
        return Array.from({ length: limit }, (_, i) => selected[Math.floor((i * selected.length) / limit)]);
    }
}

export function matches(pattern, name) {
    const split = (text) => [text.split(':', 1)[0], text.split(':').slice(1).join(':').split(',').filter((pair) => pair)];
    const [[variant, pairs], [whole, said]] = [split(pattern), split(name)];
    return whole.startsWith(variant) && pairs.every((pair) => said.includes(pair));
}

class Lost extends Error {}

// Where cases run: a device, with what has been compiled for it.
class Device {
    static async open(gpu, needs, timeout) {
        const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
        if (!adapter) {
            throw new Error('no adapter: this implementation of WebGPU finds no device that it can use');
        }
        const limits = Object.entries(needs.limits).map(([name, needed]) => [name, Math.min(needed, adapter.limits[name])]);
        const device = await adapter.requestDevice({
            requiredFeatures: needs.features.filter((feature) => adapter.features.has(feature)),
            requiredLimits: Object.fromEntries(limits),
        });
        return new Device(adapter, device, timeout);
    }

    constructor(adapter, device, timeout) {
        Object.assign(this, { info: adapter.info ?? {}, device, timeout, lost: null });
        this.programs = new Map();
        device.lost.then(({ message }) => {
            this.lost ??= message || 'no reason given';
        });
        // What no scope catches is a fault as well.
        device.onuncapturederror = ({ error }) => {
            this.uncaptured ??= error.message;
        };
    }

    // Fails where the implementation never answers.
    async soon(promise) {
        let timer;
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => {
                this.lost ??= `no answer in ${this.timeout / 1000} s`;
                reject(new Lost(this.lost));
            }, this.timeout);
        });
        try {
            return await Promise.race([promise, late]);
        } finally {
            clearTimeout(timer);
        }
    }

    // Why a case cannot run here, or null.
    lacks(test, programs) {
        const { limits, features } = this.device;
        for (const { size, usage } of test.buffers) {
            const binding = usage === 'uniform' ? limits.maxUniformBufferBindingSize : limits.maxStorageBufferBindingSize;
            if (size > limits.maxBufferSize || size > binding) {
                return 'a buffer is larger than the device allows';
            }
        }
        for (const { program, groups, bindings } of test.script.filter(({ op }) => op === 'dispatch')) {
            // Not its subgroup size: every program is right on every size, and slow on some.
            const { features: needed, constants } = programs[program];
            const missing = needed.find((feature) => !features.has(feature));
            if (missing) {
                return `the device lacks ${missing}`;
            }
            const storage = bindings.filter(({ type }) => type !== 'uniform').length;
            if (storage > limits.maxStorageBuffersPerShaderStage) {
                return `${storage} storage buffers needed, ${limits.maxStorageBuffersPerShaderStage} allowed`;
            }
            if ((constants.WIDTH ?? 1) > Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX)) {
                return `more is needed than max_invocations = ${limits.maxComputeInvocationsPerWorkgroup}`;
            }
            if (Math.max(...groups) > limits.maxComputeWorkgroupsPerDimension) {
                return `more is needed than max_workgroups = ${limits.maxComputeWorkgroupsPerDimension}`;
            }
            const aligned = ({ type, offset }) =>
                offset % (type === 'uniform' ? limits.minUniformBufferOffsetAlignment : limits.minStorageBufferOffsetAlignment) === 0;
            if (!bindings.every(aligned)) {
                return `bindings at multiples of ${limits.minStorageBufferOffsetAlignment} only`;
            }
        }
        return null;
    }

    // The pipeline of a program. A program that does not compile does not for every case that uses it.
    pipeline(source, program, bindings) {
        const types = bindings.map(({ binding, type }) => `${binding} ${type}`).join();
        const key = `${program}: ${types}`;
        if (!this.programs.has(key)) {
            const compiled = this.compile(source, program, bindings);
            // Whoever waits for it is told.
            compiled.catch(() => {});
            this.programs.set(key, compiled);
        }
        return this.programs.get(key);
    }

    async compile(source, program, bindings) {
        const { device } = this;
        const { name, constants } = source.index.programs[program];
        const code = await source.text(program);
        const types = { uniform: 'uniform', read: 'read-only-storage', read_write: 'storage' };
        const entries = bindings.map(({ binding, type }) => ({ binding, visibility: 4, buffer: { type: types[type] } }));
        device.pushErrorScope('validation');
        const module = device.createShaderModule({ label: name, code });
        const refused = device.popErrorScope();
        const { messages } = await this.soon(module.getCompilationInfo());
        const fault = messages.find(({ type }) => type === 'error');
        if (fault) {
            const line = code.split('\n')[fault.lineNum - 1]?.trim() ?? '';
            throw new Error(`the shader is refused: line ${fault.lineNum}: ${fault.message}: ${line}`);
        }
        if (await this.soon(refused)) {
            throw new Error(`the shader is refused: ${(await refused).message}`);
        }
        device.pushErrorScope('validation');
        const layout = device.createBindGroupLayout({ entries });
        const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
        const unfit = device.popErrorScope();
        const pipeline = this.soon(
            device.createComputePipelineAsync({ label: name, layout: pipelineLayout, compute: { module, constants } }),
        );
        const [error] = await Promise.all([this.soon(unfit), pipeline.catch(() => null)]);
        if (error) {
            throw new Error(`the bindings are refused: ${error.message}`);
        }
        return { pipeline: await pipeline, layout };
    }

    // Pipelines of a case's dispatches, on their way.
    prepare(source, test) {
        const dispatches = test.script.filter(({ op }) => op === 'dispatch');
        return dispatches.map((op) => [op, this.pipeline(source, op.program, op.bindings)]);
    }

    // What is wrong with a case, or null.
    async run(source, test) {
        const buffers = [];
        let scopes = 0;
        let result;
        try {
            const preparing = this.prepare(source, test);
            const blobs = await blobsOf(source, test);
            const pipelines = new Map();
            for (const [op, pipeline] of preparing) {
                pipelines.set(op, await pipeline);
            }
            for (const filter of ['validation', 'out-of-memory', 'internal']) {
                this.device.pushErrorScope(filter);
                scopes += 1;
            }
            const got = await this.results(test, blobs, pipelines, buffers);
            result = judgeAll(test, blobs, got);
        } catch (error) {
            result = { failure: oneLine(error.message), first: [] };
        }
        // An error that WebGPU reports is why the rest went wrong.
        try {
            const errors = Array.from({ length: scopes }, () => this.device.popErrorScope());
            const error = (await this.soon(Promise.all(errors))).findLast((e) => e);
            if (error || this.uncaptured) {
                result = { failure: `refused: ${oneLine(error?.message ?? this.uncaptured)}`, first: [] };
            }
        } catch (error) {
            result ??= { failure: oneLine(error.message), first: [] };
        }
        this.uncaptured = null;
        buffers.forEach((buffer) => buffer.destroy());
        // Lets the promise of a lost device speak.
        await null;
        return this.lost === null ? result : { failure: `the device was lost: ${oneLine(this.lost)}`, first: [] };
    }

    // The bytes of every check, in order.
    async results(test, blobs, pipelines, buffers) {
        const { device } = this;
        const { queue } = device;
        const create = (size, usage) => {
            const buffer = device.createBuffer({ size: Math.ceil(size / 4) * 4, usage });
            buffers.push(buffer);
            return buffer;
        };
        const [MAP_READ, COPY_SRC, COPY_DST, UNIFORM, STORAGE] = [0x1, 0x4, 0x8, 0x40, 0x80];
        const usages = { uniform: UNIFORM | COPY_DST, storage: STORAGE | COPY_SRC | COPY_DST };
        const operands = test.buffers.map(({ size, usage }) => create(size, usages[usage]));
        const checks = test.script.filter(({ op }) => op === 'check');
        const starts = [];
        let total = 0;
        for (const { size } of checks) {
            starts.push(total);
            total += Math.ceil(size / 4) * 4;
        }
        const results = create(Math.max(total, 4), COPY_DST | MAP_READ);

        let encoder = null;
        const submit = () => {
            if (encoder) {
                queue.submit([encoder.finish()]);
            }
            encoder = null;
        };
        for (const op of test.script) {
            if (op.op === 'write') {
                // A write comes before whatever is submitted after it.
                submit();
                queue.writeBuffer(operands[op.buffer], op.offset, blobs.get(op.data));
                continue;
            }
            encoder ??= device.createCommandEncoder();
            if (op.op === 'dispatch') {
                const { pipeline, layout } = pipelines.get(op);
                const entries = op.bindings.map(({ binding, buffer, offset, size }) => {
                    return { binding, resource: { buffer: operands[buffer], offset, size } };
                });
                const pass = encoder.beginComputePass();
                pass.setPipeline(pipeline);
                pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
                pass.dispatchWorkgroups(...op.groups);
                pass.end();
            } else if (op.op === 'check') {
                const at = starts[checks.indexOf(op)];
                encoder.copyBufferToBuffer(operands[op.buffer], op.offset, results, at, Math.ceil(op.size / 4) * 4);
            } else {
                throw new Error(`index.json: no operation is called ${op.op}`);
            }
        }
        submit();
        await this.soon(results.mapAsync(1));
        const all = new Uint8Array(results.getMappedRange());
        const got = checks.map(({ size }, i) => all.slice(starts[i], starts[i] + size));
        results.unmap();
        return got;
    }
}

// All data that a case names, by the ranges of its script.
async function blobsOf(source, test) {
    const ranges = test.script.flatMap((op) => {
        const loose = (op.loose ?? []).flatMap(({ lo, hi, sums }) => [lo, hi, sums?.lo, sums?.hi]);
        return [op.data, op.want, ...loose].filter((range) => range);
    });
    const blobs = new Map();
    for (const range of ranges) {
        blobs.set(range, await source.blob(range));
    }
    return blobs;
}

function judgeAll(test, blobs, got) {
    const before = new Map();
    for (const [at, op] of test.script.entries()) {
        if (op.op === 'check') {
            before.set(at, got[before.size]);
            const wrong = judge(op, (range) => blobs.get(range), before.get(at), before.get(op.same_as));
            if (wrong) {
                return wrong;
            }
        }
    }
    return before.size > 0 ? null : { failure: 'nothing is checked', first: [] };
}

const oneLine = (message) => message.trim().split('\n')[0];

// What the cases want of a device beyond what every device has.
function needsOf(source, cases) {
    const dispatches = cases.flatMap(({ script }) => script.filter(({ op }) => op === 'dispatch'));
    const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), 0);
    const programs = [...new Set(dispatches.map(({ program }) => program))].map((program) => source.index.programs[program]);
    const size = most(cases.flatMap(({ buffers }) => buffers.map((buffer) => buffer.size)));
    const width = most(programs.map(({ constants }) => constants.WIDTH ?? 1));
    return {
        features: [...new Set(programs.flatMap(({ features }) => features))],
        limits: {
            maxStorageBuffersPerShaderStage: most(dispatches.map(({ bindings }) => bindings.length - 1)),
            maxComputeInvocationsPerWorkgroup: width,
            maxComputeWorkgroupSizeX: width,
            maxStorageBufferBindingSize: size,
            maxBufferSize: size,
        },
    };
}

// As `onesum conform` describes adapters; browsers leave out most.
function describe({ info, device }) {
    const types = { 'discrete GPU': 'discrete-gpu', 'integrated GPU': 'integrated-gpu', CPU: 'cpu' };
    const unknown = info.isFallbackAdapter ? 'cpu' : 'other';
    return {
        name: info.description || [info.vendor, info.architecture, info.device].filter((s) => s).join(' ') || 'unnamed',
        type: types[info.type] ?? unknown,
        backend: info.backend ?? '',
        driver: info.vendor ?? '',
        driver_info: info.driver ?? '',
        subgroup_sizes: device.features.has('subgroups') ? [info.subgroupMinSize ?? 0, info.subgroupMaxSize ?? 0] : [0, 0],
    };
}

// Runs cases of an export, one after the other.
//   gpu             the implementation: `navigator.gpu`
//   source          the Export
//   cases           of it
//   patterns        that selected them, for the report
//   implementation  `dawn` or `browser`
//   userAgent       which one, in its own words
//   timeout         milliseconds after which an answer is no longer waited for
//   progress        told of every case: { done, of, name, outcome: 'passed' | 'failed' | 'skipped', failed, report }
//   stop            asked before every case whether to end
// The result has the fields of a report of `onesum conform --json`, and which implementation it was.
export async function run({
    gpu,
    source,
    cases,
    patterns = [],
    implementation,
    userAgent,
    timeout = 120000,
    progress = () => {},
    stop = () => false,
}) {
    const needs = needsOf(source, cases);
    let device = await Device.open(gpu, needs, timeout);
    const report = {
        onesum: source.index.onesum,
        implementation,
        user_agent: userAgent,
        exported_by: source.index.adapter,
        adapter: describe(device),
        filters: patterns,
        seconds: 0,
        executed: 0,
        passed: 0,
        failures: [],
        skipped: {},
        kinds: {},
        ended: null,
        passed_cases: [],
    };
    const start = performance.now();
    const reopen = async () => {
        device.device.destroy();
        device = await Device.open(gpu, needs, timeout);
    };
    let lost = 0;
    // Implementations compile on several threads, so cases ahead are prepared. When a device was lost that is over: it must not
    // be laid to the wrong case.
    let ahead = 3;
    for (const [number, test] of cases.entries()) {
        if (stop()) {
            report.ended = 'stopped by hand';
            break;
        }
        report.kinds[test.kind] ??= { executed: 0, passed: 0, failed: 0, skipped: 0, worst: null };
        const tally = report.kinds[test.kind];
        const told = { done: number + 1, of: cases.length, name: test.name, outcome: 'skipped', failed: null, report };
        const reason = device.lacks(test, source.index.programs);
        if (reason) {
            tally.skipped += 1;
            report.skipped[reason] = (report.skipped[reason] ?? 0) + 1;
        } else {
            for (const next of cases.slice(number + 1, number + 1 + ahead)) {
                if (!device.lacks(next, source.index.programs)) {
                    device.prepare(source, next);
                }
            }
            let wrong = await device.run(source, test);
            if (device.lost !== null && ahead > 0) {
                ahead = 0;
                try {
                    await reopen();
                    wrong = await device.run(source, test);
                } catch (error) {
                    report.ended = oneLine(error.message);
                }
            }
            report.executed += 1;
            tally.executed += 1;
            told.outcome = wrong ? 'failed' : 'passed';
            tally[told.outcome] += 1;
            if (wrong) {
                told.failed = { case: test.name, from: null, ...wrong };
                report.failures.push(told.failed);
            } else {
                report.passed += 1;
                report.passed_cases.push(test.name);
            }
        }
        report.seconds = (performance.now() - start) / 1000;
        await progress(told);
        try {
            if (report.ended === null && device.lost !== null) {
                lost += 1;
                if (lost === MOST_LOST) {
                    throw new Error(`${lost} devices were lost`);
                }
                await reopen();
            }
        } catch (error) {
            report.ended = oneLine(error.message);
        }
        if (report.ended !== null) {
            break;
        }
    }
    device.device.destroy();
    return report;
}

export const skips = (report) => Object.values(report.skipped).reduce((a, b) => a + b, 0);

// Whether cases ran, all of them, and nothing was wrong.
export const ok = (report) => report.executed > 0 && report.failures.length === 0 && report.ended === null;

// What `onesum conform` prints of a failure.
export function failureText({ case: name, failure, first }) {
    const more = first.slice(1).map(({ what, index, got, want }) => `\n       ${what}[${index.join(', ')}] is ${got}, not ${want}`);
    return `FAILED ${name}\n       ${failure}${more.join('')}`;
}

// What `onesum conform` prints of a report, but for its failures.
export function summary(report) {
    const lines = Object.entries(report.skipped).map(([reason, count]) => `skipped ${count}: ${reason}`);
    for (const [kind, { executed, failed, skipped }] of Object.entries(report.kinds).sort()) {
        const more = (failed > 0 ? `, ${failed} failed` : '') + (skipped > 0 ? `, ${skipped} skipped` : '');
        lines.push(`${kind.padEnd(28)} ${String(executed).padStart(6)} cases${more}`);
    }
    if (report.ended !== null) {
        lines.push(`ended early: ${report.ended}`);
    }
    const { executed, passed, failures } = report;
    lines.push(`conformance: ${executed} executed, ${passed} passed, ${failures.length} failed, ${skips(report)} skipped`);
    return lines.join('\n');
}
