fn quad_words(token: Token, quad: u32) -> vec4<u32> {
    return noise_words(token.stream, DOMAIN, quad);
}

fn words_at(token: Token, columns: vec4<u32>) -> vec4<u32> {
    return vec4(
        quad_words(token, columns.x / 4u)[columns.x % 4u],
        quad_words(token, columns.y / 4u)[columns.y % 4u],
        quad_words(token, columns.z / 4u)[columns.z % 4u],
        quad_words(token, columns.w / 4u)[columns.w % 4u],
    );
}
