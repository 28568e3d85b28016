// The runner on Dawn's null backend, which validates everything and computes nothing.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { dawn } from './node.mjs';
import { Export, failureText, matches, ok, run, summary } from './run.js';
import { validate } from './validate.js';

const dawnNull = await dawn(['backend=null']);

// An implementation whose devices are changed before they are handed out.
function altered(change) {
    return { requestAdapter: async () => {
        const adapter = await dawnNull.requestAdapter();
        const { info, limits, features } = adapter;
        return { info, limits, features, requestDevice: async (descriptor) => change(await adapter.requestDevice(descriptor)) };
    } };
}

// Whatever is read back is 1, 2.
function answering(device) {
    const create = device.createBuffer.bind(device);
    device.createBuffer = (descriptor) => {
        const buffer = create(descriptor);
        buffer.getMappedRange = () => new Uint32Array([1, 2]).buffer;
        return buffer;
    };
    return device;
}

const gpu = altered(answering);

const STORE = `
override WIDTH: u32 = 1;
@group(0) @binding(0) var<uniform> value: u32;
@group(0) @binding(1) var<storage, read_write> dst: array<u32>;
@compute @workgroup_size(WIDTH) fn main() { dst[0] = value; }
`;
const WITH_F16 = `enable f16;\n${STORE}`;
const TEXTS = { 'programs/0000.wgsl': STORE, 'programs/0001.wgsl': 'fn main() { nonsense(); }', 'programs/0002.wgsl': WITH_F16 };

const BINDINGS = [
    { binding: 0, type: 'uniform', buffer: 1, offset: 0, size: 16 },
    { binding: 1, type: 'read_write', buffer: 0, offset: 0, size: 8 },
];
const check = (want) => ({ op: 'check', what: 'dst', buffer: 0, offset: 0, size: 8, want, loose: [] });
const dispatch = (program, changes = {}) => ({ op: 'dispatch', program, groups: [1, 1], bindings: BINDINGS, ...changes });
const write = { op: 'write', buffer: 0, offset: 0, data: [0, 8] };
const buffers = [{ size: 8, usage: 'storage' }, { size: 16, usage: 'uniform' }];
const entry = (name, script, changes = {}) => ({ name: `plan/${name}:k=1`, kernel: 'plan', kind: `plan/${name}`, buffers, script, ...changes });

// The data: two words, then two others.
const DATA = new Uint8Array(new Uint32Array([1, 2, 3, 4]).buffer);

function exported(...cases) {
    const program = (file, features = [], constants = { WIDTH: 8 }) => ({ name: file, file, constants, features, subgroup_size: null });
    const programs = [program('programs/0000.wgsl'), program('programs/0001.wgsl'), program('programs/0002.wgsl', ['shader-f16']), program('programs/0000.wgsl', [], { WIDTH: 2048 })];
    const index = { format: 1, onesum: '0', adapter: {}, programs, cases };
    return Export.open(async (name, start = 0, length = Infinity) => {
        const files = { ...TEXTS, 'index.json': JSON.stringify(index) };
        const all = name === 'data.bin' ? DATA : new TextEncoder().encode(files[name]);
        return all.subarray(start, start + length);
    });
}

async function report(cases, on = gpu) {
    const source = await exported(...cases);
    return run({ gpu: on, source, cases: source.index.cases, implementation: 'dawn', userAgent: 'null', timeout: 20000 });
}

const failures = ({ failures }) => Object.fromEntries(failures.map(({ case: name, failure }) => [name.split(/[/:]/)[1], failure]));

test('cases pass, fail, and go on after a failure', async () => {
    const wide = { bindings: BINDINGS.map((b) => ({ ...b, size: 4096 })) };
    const typed = { bindings: BINDINGS.map((b) => ({ ...b, type: 'read' })) };
    const found = await report([
        entry('copied', [write, dispatch(0), check([0, 8])]),
        entry('other', [write, dispatch(0), check([8, 8])]),
        entry('nonsense', [write, dispatch(1), check([0, 8])]),
        entry('wide', [write, dispatch(0, wide), check([0, 8])]),
        entry('typed', [write, dispatch(0, typed), check([0, 8])]),
        entry('unaligned', [{ ...write, data: [0, 3] }, check([0, 8])]),
        entry('unchecked', [write]),
        entry('unknown', [{ op: 'jump' }, check([0, 8])]),
        entry('cut', [{ ...write, data: [8, 16] }, check([0, 8])]),
        entry('again', [write, dispatch(0), check([0, 8])]),
    ]);
    const messages = failures(found);
    assert.equal(messages.other, 'dst: word 0 is 0x1, not 0x3; 2 such in all');
    assert.match(messages.nonsense, /the shader is refused: line 1: .*nonsense/);
    assert.match(messages.wide, /^refused: .*4096/);
    assert.match(messages.typed, /[Bb]inding/);
    assert.ok(messages.unaligned && messages.cut);
    assert.equal(messages.unchecked, 'nothing is checked');
    assert.match(messages.unknown, /jump/);
    assert.deepEqual(found.passed_cases, ['plan/copied:k=1', 'plan/again:k=1']);
    assert.equal(found.executed, 10);
    assert.equal(ok(found), false);
    assert.match(summary(found), /\nconformance: 10 executed, 2 passed, 8 failed, 0 skipped$/);
    assert.deepEqual(found.kinds['plan/other'], { executed: 1, passed: 0, failed: 1, skipped: 0, worst: null });
    assert.match(failureText(found.failures[0]), /^FAILED plan\/other:k=1\n {7}dst: word 0.*\n {7}dst words\[0, 1\] is 0x2, not 0x4$/);
});

test('what the device lacks is skipped, with the reason', async () => {
    const without = altered((device) => device);
    const whole = without.requestAdapter;
    without.requestAdapter = async () => ({ ...(await whole()), features: new Set() });
    const many = { bindings: Array.from({ length: 12 }, (_, i) => ({ ...BINDINGS[1], binding: i })) };
    const aside = { bindings: BINDINGS.map((b) => ({ ...b, offset: 4 })) };
    const found = await report([
        entry('f16', [dispatch(2), check([0, 8])]),
        entry('many', [dispatch(0, many), check([0, 8])]),
        entry('invocations', [dispatch(3), check([0, 8])]),
        entry('aside', [dispatch(0, aside), check([0, 8])]),
        entry('large', [check([0, 8])], { buffers: [{ size: 2 ** 40, usage: 'storage' }] }),
        entry('groups', [dispatch(0, { groups: [65536, 1] }), check([0, 8])]),
    ], without);
    assert.deepEqual(Object.keys(found.skipped).sort(), [
        '12 storage buffers needed, 8 allowed',
        'a buffer is larger than the device allows',
        'bindings at multiples of 256 only',
        'more is needed than max_invocations = 256',
        'more is needed than max_workgroups = 65535',
        'the device lacks shader-f16',
    ]);
    assert.equal(found.executed, 0);
    // Nothing that ran is no success.
    assert.equal(ok(found), false);
});

test('a lost device is a failure of its case, and the next one gets another', async () => {
    let devices = 0;
    const fragile = altered((device) => {
        devices += 1;
        const create = device.createComputePipelineAsync.bind(device);
        device.createComputePipelineAsync = (descriptor) => {
            device.destroy();
            return create(descriptor);
        };
        return answering(device);
    });
    const found = await report([
        entry('first', [write, check([0, 8])]),
        entry('lost', [write, dispatch(0), check([0, 8])]),
        entry('last', [write, check([0, 8])]),
    ], fragile);
    assert.deepEqual(found.passed_cases, ['plan/first:k=1', 'plan/last:k=1']);
    assert.match(failures(found).lost, /^the device was lost: /);
    assert.equal(found.ended, null);
    // One that was lost by looking ahead, one by the case itself, one for the rest.
    assert.equal(devices, 3);
});

test('no adapter, no export of this format', async () => {
    const source = await exported(entry('x', [check([0, 8])]));
    const none = { requestAdapter: async () => null };
    await assert.rejects(run({ gpu: none, source, cases: source.index.cases }), /no adapter/);
    await assert.rejects(Export.open(async () => new TextEncoder().encode('{"format": 2}')), /format 2/);
    await assert.rejects(Export.open(async () => new TextEncoder().encode('{')), /index\.json/);
});

test('patterns', async () => {
    const name = 'softmax/stream/f32/baseline/w8/x4:rows=5,cols=33,gap=3,fill=ties';
    ['softmax', 'softmax/stream:fill=ties', ':cols=33,rows=5', '', name].forEach((pattern) => assert.ok(matches(pattern, name), pattern));
    ['plan', 'softmax:fill=tie', 'softmax/stream/f16', ':cols=3'].forEach((pattern) => assert.ok(!matches(pattern, name), pattern));
    const source = await exported(...['a', 'b', 'c', 'd', 'e'].map((name) => entry(name, [])));
    assert.deepEqual(source.select([], 2).map(({ kind }) => kind), ['plan/a', 'plan/c']);
    assert.deepEqual(source.select(['plan/b', 'plan/e:k=1']).map(({ kind }) => kind), ['plan/b', 'plan/e']);
});

test('compiling texts finds what is wrong with them', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'onesum-'));
    const lines = [];
    const valid = async (texts) => {
        fs.readdirSync(folder).forEach((file) => fs.rmSync(path.join(folder, file)));
        Object.entries(texts).forEach(([name, text]) => fs.writeFileSync(path.join(folder, `${name}.wgsl`), text));
        lines.length = 0;
        return validate(dawnNull, folder, (line) => lines.push(line));
    };
    try {
        assert.equal(await valid({ good: `${STORE}// WIDTH 64\n` }), true);
        assert.match(lines.at(-1), /1 texts, 1 pipelines, 0 faults, 0 skipped/);
        // Only naga lets this pass.
        assert.equal(await valid({ good: STORE, bad: `${STORE}fn f(a: u32) -> u32 { return a | a << 1u; }` }), false);
        assert.match(lines[0], /bad\.wgsl/);
        // A module that is right, and no pipeline of it is.
        assert.equal(await valid({ zero: `${STORE}// WIDTH 0\n` }), false);
        assert.match(lines[0], /^pipeline: /);
        assert.equal(await valid({ unknown: `${STORE}// HEIGHT 4\n` }), false);
        assert.equal(await valid({}), false);
    } finally {
        fs.rmSync(folder, { recursive: true });
    }
});
