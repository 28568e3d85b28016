fn stream_of(row: u32) -> Stream {
    return Stream(vec2(0u), vec2(0u));
}
