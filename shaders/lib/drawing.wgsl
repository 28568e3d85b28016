// What a row is drawn from, and how hot.
struct Draw {
    row: Row,
    temperature: f32,
    cold: bool,         // the temperature is 0, or its reciprocal may not be finite
    possible: bool,
}

fn draw_of(row: Row) -> Draw {
    let t = temperature_of(row.index);
    return Draw(row, t, (bitcast<u32>(t) & 0x7fffffffu) < 0x00800000u, is_possible(t));
}

// 2^96: 22.88 of it is less than half an ULP of the greatest float.
const HOTTEST = 0x6f800000u;

// Whether a temperature has a distribution, and no score overflows: NaN, negative and greater ones have not.
fn is_possible(temperature: f32) -> bool {
    let bits = bitcast<u32>(temperature);
    return bits <= HOTTEST || bits == 0x80000000u;
}
