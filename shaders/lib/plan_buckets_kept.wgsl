// What the capacity has left: `inverse` holds each pair's bucket until its slot is known.
fn buckets_at(pair: u32) -> vec4<u32> {
    return inverse[(params.inverse_offset + pair) / 4u];
}
