fn buckets_at(pair: u32) -> vec4<u32> {
    let expert = experts[(params.experts_offset + pair) / 4u];
    return select(vec4(NONE), expert, expert < vec4(params.experts));
}
