// Without groups: one pass, two quads a turn; what has to be known of the whole row is found on the way, unless the order
// depends on it.
fn found_in(token: Token) -> Found {
    var field: Field;
    if (FIELD_FIRST) {
        field = survey_alone(token);
    }
    var survey = survey_from(token);
    var list = no_list();
    var q = 0u;
    for (; q + 1u < params.quads; q += 2u) {
        let x = logits(token, q);
        let y = logits(token, q + 1u);
        list = inserted_four(list, packed(keys_from(token, field, q, x), q));
        list = inserted_four(list, packed(keys_from(token, field, q + 1u, y), q + 1u));
        if (!FIELD_FIRST) {
            survey = surveyed(surveyed(survey, q, x), q + 1u, y);
        }
    }
    for (; q < params.quads; q++) {
        let x = logits(token, q);
        list = inserted_four(list, packed(keys_from(token, field, q, x), q));
        if (!FIELD_FIRST) {
            survey = surveyed(survey, q, x);
        }
    }
    if (!FIELD_FIRST) {
        field = survey_of(token, survey);
    }
    return Found(list, 1u, field);
}
