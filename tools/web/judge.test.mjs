import assert from 'node:assert/strict';
import test from 'node:test';
import { bf16, f16, judge } from './judge.js';

const GUARD = 0xa5a5a5a5;
const bytes = (array) => new Uint8Array(array.buffer);
const words = (...list) => bytes(new Uint32Array(list));
const floats = (...list) => bytes(new Float32Array(list));
const bits = (x) => new DataView(floats(x).buffer).getUint32(0, true);

// Blobs stand for themselves.
const verdict = (check, got, earlier) => judge({ what: 'dst', loose: [], ...check }, (blob) => blob, got, earlier);

// A guard, three f32 with intervals, a guard.
const row = (...x) => words(GUARD, ...x.map(bits), GUARD);
const ROW = { want: row(1, 2, 3), loose: [{ type: 'f32', at: 4, count: 3, lo: floats(0.5, 2, NaN), hi: floats(1.5, 2, NaN) }] };

test('what is right passes', () => {
    assert.equal(verdict(ROW, row(1, 2, NaN)), null);
    assert.equal(verdict(ROW, row(0.5, 2, NaN)), null);
    assert.equal(verdict(ROW, row(1.5, 2, NaN)), null);
    assert.equal(verdict({ ...ROW, loose: [] }, ROW.want), null);
});

test('a float outside of its interval', () => {
    for (const [wrong, printed] of [[0.49999997, '0.49999997'], [1.5000001, '1.5000001'], [NaN, 'NaN'], [-Infinity, '-Infinity']]) {
        const { failure, first } = verdict(ROW, row(wrong, 2, NaN));
        assert.equal(failure, `dst[0, 0] is ${printed}, not in [0.5, 1.5]`);
        assert.deepEqual(first, [{ what: 'dst', index: [0, 0], got: printed, want: 'in [0.5, 1.5]', ulps: null }]);
    }
});

test('a number where NaN is wanted, and several at once', () => {
    const { failure, first } = verdict(ROW, row(7, 2.5, 3));
    assert.equal(failure, 'dst[0, 0] is 7, not in [0.5, 1.5]; 3 such in all');
    assert.deepEqual(first.map(({ want }) => want), ['in [0.5, 1.5]', '2', 'NaN']);
    // One end alone that is NaN is an interval that nothing is in.
    const half = { ...ROW, loose: [{ ...ROW.loose[0], hi: floats(1.5, 2, 9) }] };
    assert.match(verdict(half, row(1, 2, 3)).failure, /dst\[0, 2\]/);
    assert.match(verdict(half, row(1, 2, NaN)).failure, /dst\[0, 2\]/);
});

test('a guard and an exact word', () => {
    const before = row(1, 2, NaN);
    before[0] ^= 1;
    assert.equal(verdict(ROW, before).failure, 'dst: word 0 is 0xa5a5a5a4, not 0xa5a5a5a5');
    const after = row(1, 2, NaN);
    after[19] ^= 0x80;
    assert.equal(verdict(ROW, after).failure, 'dst: word 4 is 0x25a5a5a5, not 0xa5a5a5a5');
    assert.match(verdict({ want: words(1, 2) }, words(1, 3)).failure, /word 1 is 0x3, not 0x2/);
    // To the bit: zeros of both signs differ.
    assert.match(verdict({ want: floats(0) }, floats(-0)).failure, /word 0/);
    assert.match(verdict({ want: words(1, 2) }, words(1)).failure, /4 bytes, not 8/);
});

test('only the first wrong elements are told of one by one', () => {
    const many = verdict({ want: bytes(new Uint32Array(100)) }, bytes(new Uint32Array(100).fill(1)));
    assert.equal(many.first.length, 8);
    assert.match(many.failure, /100 such in all/);
});

test('16-bit floats', () => {
    const cases = [[0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0001, 2 ** -24], [0x03ff, 1023 * 2 ** -24], [0x0400, 2 ** -14], [0x3555, 0.333251953125]];
    cases.forEach(([word, value]) => assert.equal(f16(word), value));
    assert.equal(f16(0x7c00), Infinity);
    assert.equal(f16(0xfc00), -Infinity);
    assert.ok(Number.isNaN(f16(0x7e01)) && Object.is(f16(0x8000), -0));
    [[0x3f80, 1], [0xc000, -2], [0x0001, 2 ** -133], [0x7f80, Infinity]].forEach(([word, value]) => assert.equal(bf16(word), value));
    assert.ok(Number.isNaN(bf16(0x7fc0)));
});

test('16-bit elements that begin in the middle of a word', () => {
    const half = (...list) => bytes(new Uint16Array(list));
    for (const [type, one, two] of [['f16', 0x3c00, 0x4000], ['bf16', 0x3f80, 0x4000]]) {
        const check = { want: half(7, one, one, 9), loose: [{ type, at: 2, count: 2, lo: floats(1, 1), hi: floats(1, 2) }] };
        assert.equal(verdict(check, half(7, one, two, 9)), null);
        assert.match(verdict(check, half(7, two, two, 9)).failure, /dst\[0, 0\] is 2, not 1$/);
        assert.match(verdict(check, half(8, one, two, 9)).failure, /word 0/);
        assert.match(verdict(check, half(7, one, two, 8)).failure, /word 1/);
    }
});

test('sums of 64 bits', () => {
    // Low words, then high words, which are exact here.
    const sums = { high: 8, lo: bytes(new BigInt64Array([-3n, 2n ** 32n - 1n])), hi: bytes(new BigInt64Array([-1n, 2n ** 32n - 1n])) };
    const check = { want: words(0, 0, 0xffffffff, 0), loose: [{ type: 'any', at: 0, count: 2, sums }] };
    assert.equal(verdict(check, words(0xfffffffd, 0xffffffff, 0xffffffff, 0)), null);
    assert.match(verdict(check, words(0xfffffffc, 0xffffffff, 0xffffffff, 0)).failure, /dst\[0, 0\] is -4, not in \[-3, -1\]/);
    assert.match(verdict(check, words(0xffffffff, 0xfffffffe, 0xffffffff, 0)).failure, /dst\[0, 1\] is 4294967294/);
    assert.match(verdict(check, words(0xffffffff, 0xffffffff, 0xffffffff, 1)).failure, /2 such in all/);
});

test('words that may be anything, but not another thing in a second run', () => {
    const check = { want: words(1, 2), loose: [{ type: 'any', at: 0, count: 1 }] };
    assert.equal(verdict(check, words(9, 2)), null);
    assert.match(verdict(check, words(9, 3)).failure, /word 1/);
    assert.equal(verdict(check, words(9, 2), words(9, 2)), null);
    assert.equal(verdict(check, words(9, 2), words(8, 2)).failure, 'dst: a second run differs at byte 0');
});
