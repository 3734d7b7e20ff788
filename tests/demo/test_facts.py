"""The tables hold every fact once, and every template keeps the thing it asks about."""

import random

import pytest

from sgjax.demo import facts
from sgjax.demo.grammar import expand


def repeated(names):
    names = list(names)
    return {name for name in names if names.count(name) > 1}


def test_no_country_city_or_term_is_in_its_table_twice():
    assert not repeated(row["name"] for row in facts.table("countries"))
    assert not repeated(row["name"] for row in facts.table("cities"))
    assert not repeated(row["term"] for row in facts.table("definitions"))


def test_there_are_enough_facts_to_be_a_demo():
    assert len(facts.countries()) >= 190
    assert len(facts.cities()) >= 100
    assert len(facts.table("definitions")) >= 300


def test_no_two_countries_share_a_capital():
    assert not repeated(row["capital"] for row in facts.table("countries"))


def test_a_capital_among_the_cities_lies_in_its_own_country():
    for city, country in facts.capitals().items():
        if city in facts.cities():
            assert facts.cities()[city]["country"] == country


def test_every_city_lies_in_a_known_country_and_has_distinct_attractions():
    for row in facts.cities().values():
        assert row["country"] in facts.countries()
        assert len(row["attractions"]) >= 3
        assert not repeated(row["attractions"])


def test_no_relation_gives_one_subject_two_values():
    for relation in facts.relations().values():
        assert not repeated(x for x, _ in relation.pairs), relation.name


@pytest.mark.parametrize("name", facts.relations())
def test_every_question_of_a_relation_names_its_subject(name):
    relation, rng = facts.relations()[name], random.Random(0)
    for template in (relation.noun, *relation.ask):
        for _ in range(20):
            assert "Zembla" in expand(rng, template, x="Zembla", d="Zemblan")
    for template in (*relation.claims, *relation.reverse_ask):
        assert "Zembla" in expand(rng, template, y="Zembla")


def test_every_relation_says_its_value_in_its_answer():
    for relation in facts.relations().values():
        x, y = relation.pairs[0]
        assert x in relation.said(x)
        assert y in relation.said(x)
