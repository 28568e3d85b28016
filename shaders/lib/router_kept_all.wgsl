fn kept_groups(token: Token, field: Field) -> u32 {
    return 1u;
}
