// What has to be known of a whole row before its scores are: nothing.
struct Field {
    spoilt: bool,
}

struct Survey {
    spoilt: bool,
}

fn survey(token: Token, at: Lane, subgroup_size: u32) -> Field {
    return Field(false);
}

fn survey_from(token: Token) -> Survey {
    return Survey(false);
}

fn surveyed(s: Survey, quad: u32, z: vec4<f32>) -> Survey {
    return s;
}

fn survey_of(token: Token, s: Survey) -> Field {
    return Field(false);
}

fn survey_alone(token: Token) -> Field {
    return Field(false);
}
