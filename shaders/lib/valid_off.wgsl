fn valid_tokens() -> u32 {
    return params.tokens;
}
