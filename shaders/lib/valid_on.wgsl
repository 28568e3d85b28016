// Tokens that are no padding: the first so many.
fn valid_tokens() -> u32 {
    return min(valid[params.valid_offset], params.tokens);
}
