// Whether results are right. An export says of every check which bytes must be what they are, and which elements may be
// otherwise: numbers have an interval.

// As many wrong elements as are told of one by one.
const TOLD = 8;

const bits = new DataView(new ArrayBuffer(4));

// The value of a 16-bit float's bits.
export function f16(word) {
    const [sign, exponent, fraction] = [word >> 15 ? -1 : 1, (word >> 10) & 31, word & 1023];
    if (exponent === 31) {
        return fraction ? NaN : sign * Infinity;
    }
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

// The value of a bfloat16's bits: the upper half of an f32.
export function bf16(word) {
    bits.setUint32(0, word << 16);
    return bits.getFloat32(0);
}

const TYPES = {
    f32: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
    f16: { bytes: 2, read: (view, at) => f16(view.getUint16(at, true)) },
    bf16: { bytes: 2, read: (view, at) => bf16(view.getUint16(at, true)) },
    any: { bytes: 4 },
};

// As few digits as tell an f32 from every other.
function short(x) {
    for (let digits = 1; digits < 9; digits += 1) {
        if (Number.isFinite(x) && Math.fround(Number(x.toPrecision(digits))) === x) {
            return String(Number(x.toPrecision(digits)));
        }
    }
    return String(Number.isFinite(x) ? Number(x.toPrecision(9)) : x);
}

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (word) => `0x${word.toString(16)}`;

// What is wrong, as a report has it, or null.
//   check    of an export's script
//   blob     the bytes of a range of the export's data
//   got      what the implementation gave
//   earlier  what it gave for the check that this one has to equal, if there is such
export function judge(check, blob, got, earlier) {
    const want = blob(check.want);
    if (got.length !== want.length) {
        return { failure: `${check.what}: ${got.length} bytes, not ${want.length}`, first: [] };
    }
    const first = [];
    let count = 0;
    const wrong = (text, element) => {
        count += 1;
        if (first.length < TOLD) {
            first.push({ text: `${text} is ${element().got}, not ${element().want}`, ...element() });
        }
    };
    const element = (range, i, got, want) => () => ({ what: check.what, index: [range, i], got, want, ulps: null });

    const [given, wanted] = [view(got), view(want)];
    const exact = new Uint8Array(want.length).fill(1);
    check.loose.forEach((loose, range) => {
        const type = TYPES[loose.type];
        exact.fill(0, loose.at, loose.at + loose.count * type.bytes);
        const name = (i) => `${check.what}[${range}, ${i}]`;
        if (loose.sums) {
            // The elements are the lower halves of 64-bit integers.
            const [lo, hi] = [view(blob(loose.sums.lo)), view(blob(loose.sums.hi))];
            for (let i = 0; i < loose.count; i += 1) {
                const high = BigInt(given.getInt32(loose.sums.high + 4 * i, true));
                const sum = (high << 32n) | BigInt(given.getUint32(loose.at + 4 * i, true));
                const [least, most] = [lo.getBigInt64(8 * i, true), hi.getBigInt64(8 * i, true)];
                if (sum < least || sum > most) {
                    wrong(name(i), element(range, i, `${sum}`, `in [${least}, ${most}]`));
                }
            }
        }
        if (!type.read) {
            return;
        }
        const [lo, hi] = [view(blob(loose.lo)), view(blob(loose.hi))];
        for (let i = 0; i < loose.count; i += 1) {
            const x = type.read(given, loose.at + type.bytes * i);
            const [least, most] = [lo.getFloat32(4 * i, true), hi.getFloat32(4 * i, true)];
            const nan = Number.isNaN(least) && Number.isNaN(most);
            if (nan ? !Number.isNaN(x) : !(least <= x && x <= most)) {
                const interval = nan ? 'NaN' : least === most ? short(least) : `in [${short(least)}, ${short(most)}]`;
                wrong(name(i), element(range, i, short(x), interval));
            }
        }
    });
    // By words, as far as there are four bytes: that is what people look for in a buffer.
    for (let at = 0; at < want.length; at += 4) {
        const bytes = Math.min(4, want.length - at);
        let differs = false;
        for (let byte = at; byte < at + bytes; byte += 1) {
            differs ||= exact[byte] === 1 && got[byte] !== want[byte];
        }
        if (differs) {
            const [g, w] = [given, wanted].map((v) => hex(bytes === 4 ? v.getUint32(at, true) : v.getUint8(at)));
            const what = `${check.what} words`;
            wrong(`${check.what}: word ${at / 4}`, () => ({ what, index: [0, at / 4], got: g, want: w, ulps: null }));
        }
    }
    if (count > 0) {
        const failure = first[0].text + (count > 1 ? `; ${count} such in all` : '');
        return { failure, first: first.map(({ text, ...rest }) => rest) };
    }
    const byte = earlier ? got.findIndex((b, i) => b !== earlier[i]) : -1;
    return byte < 0 ? null : { failure: `${check.what}: a second run differs at byte ${byte}`, first: [] };
}
