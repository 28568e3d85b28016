// Positions in a bucket are ranks.
fn first_of(bucket: u32) -> u32 {
    return 0u;
}

fn firsts_at(first: u32) -> vec4<u32> {
    return vec4(0u);
}
