//! The order of the targets of a route. No I/O.

use std::{fmt, str::FromStr, time::Duration};

use omnistack_core::config::SettingValue;
use serde::{Deserialize, Serialize};

use super::complexity::Complexity;
use crate::catalog::Cost;

/// The way in which the targets of a route are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouteStrategy {
    /// The order in which they are listed.
    #[default]
    Ordered,
    /// The lowest estimated cost first.
    Cheapest,
    /// The lowest measured latency first. Targets without a measurement come before all others.
    Fastest,
    /// A random order by their weights.
    Weighted,
    /// The weakest target that is strong enough for the difficulty of the request first.
    Complexity,
    /// The variant of the caller first: targets are compared with each other, and each caller keeps its variant.
    Experiment,
}

impl RouteStrategy {
    /// Returns the name, such as `cheapest`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Weighted => "weighted",
            Self::Complexity => "complexity",
            Self::Experiment => "experiment",
        }
    }
}

impl fmt::Display for RouteStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RouteStrategy {
    type Err = String;

    /// Reads a strategy that needs nothing but the targets.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Ordered, Self::Cheapest, Self::Fastest, Self::Weighted];
        let found = all.into_iter().find(|strategy| strategy.as_str() == text);
        found.ok_or_else(|| "expected `ordered`, `cheapest`, `fastest` or `weighted`".to_owned())
    }
}

impl SettingValue for RouteStrategy {
    const EXPECTED: &'static str = "ordered, cheapest, fastest or weighted";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// The facts that decide about the place of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetFacts {
    pub(super) weight: u32,
    /// The requests for which a route of the strategy `complexity` lists it.
    pub(super) complexity: Option<Complexity>,
    /// The estimated cost.
    pub(super) cost: Option<Cost>,
    /// The measured latency.
    pub(super) latency: Option<Duration>,
    /// Whether it is of the variant that the caller has in an experiment.
    pub(super) is_chosen: bool,
}

/// A request whose targets are put in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderSeed {
    /// The difficulty of the request.
    pub(super) complexity: Complexity,
    /// A random number, or the hash of the text that the caller's calls have in common.
    pub(super) seed: u64,
    /// Whether the seed is such a hash.
    pub(super) is_sticky: bool,
}

/// Returns the places of the targets in the order in which they are tried, with the reason of each.
pub(super) fn order(targets: &[TargetFacts], strategy: RouteStrategy, request: OrderSeed) -> Vec<(usize, String)> {
    let mut places: Vec<usize> = (0..targets.len()).collect();
    match strategy {
        RouteStrategy::Ordered => {}
        RouteStrategy::Cheapest => places.sort_by_key(|place| {
            let cost = targets[*place].cost;
            (cost.is_none(), cost)
        }),
        RouteStrategy::Fastest => places.sort_by_key(|place| {
            let micros = targets[*place].latency.map_or(0, |latency| latency.as_micros());
            // Calls that stick to a target change it only if another one is faster by a multiple.
            if request.is_sticky {
                (u128::from(micros.checked_ilog2().unwrap_or(0)), mix(request.seed, *place))
            } else {
                (micros, 0)
            }
        }),
        RouteStrategy::Weighted => {
            let weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
            places = weighted_order(&weights, request.seed);
        }
        RouteStrategy::Experiment => places.sort_by_key(|place| !targets[*place].is_chosen),
        RouteStrategy::Complexity => places.sort_by_key(|place| {
            let level = targets[*place].complexity.unwrap_or(Complexity::Moderate);
            // First those that are strong enough, the weakest of them first; then the others, the strongest first.
            let needed = request.complexity.level();
            if level >= request.complexity { (false, level.level() - needed) } else { (true, needed - level.level()) }
        }),
    }
    let reason = |place: usize| match strategy {
        RouteStrategy::Ordered => format!("place {}", place + 1),
        RouteStrategy::Cheapest => match targets[place].cost {
            Some(cost) => format!("cheapest: about {cost} USD"),
            None => "cheapest: its price is not known".to_owned(),
        },
        RouteStrategy::Fastest => match targets[place].latency {
            Some(latency) => format!("fastest: about {} ms", latency.as_millis()),
            None => "fastest: not measured yet".to_owned(),
        },
        RouteStrategy::Weighted => format!("weight {}", targets[place].weight),
        RouteStrategy::Complexity => format!("the request is {}", request.complexity),
        RouteStrategy::Experiment if targets[place].is_chosen => "the variant of the caller".to_owned(),
        RouteStrategy::Experiment => "another variant".to_owned(),
    };
    places.into_iter().map(|place| (place, reason(place))).collect()
}

/// Returns the places in an order that a seed decides: each next one by the share of its weight among the rest. Those
/// without weight come last, in their order.
pub(super) fn weighted_order(weights: &[u32], mut seed: u64) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..weights.len()).collect();
    let mut order = Vec::with_capacity(weights.len());
    loop {
        let total: u64 = rest.iter().map(|place| u64::from(weights[*place])).sum();
        if total == 0 {
            order.append(&mut rest);
            return order;
        }
        seed = mix(seed, order.len());
        let mut left = seed % total;
        let chosen = rest.iter().position(|place| {
            let weight = u64::from(weights[*place]);
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        });
        order.push(rest.remove(chosen.unwrap_or(0)));
    }
}

/// Mixes a seed and a place (SplitMix64), so that equal seeds give equal orders on each replica.
fn mix(seed: u64, place: usize) -> u64 {
    let place = u64::try_from(place).unwrap_or(u64::MAX);
    let mut mixed = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(complexity: Complexity, seed: u64, is_sticky: bool) -> OrderSeed {
        OrderSeed { complexity, seed, is_sticky }
    }

    fn facts(weight: u32, complexity: Complexity, cost: Option<i64>, ms: Option<u64>) -> TargetFacts {
        let (cost, latency) = (cost.map(Cost::from_pico), ms.map(Duration::from_millis));
        TargetFacts { weight, complexity: Some(complexity), cost, latency, is_chosen: weight == 0 }
    }

    fn places(targets: &[TargetFacts], strategy: RouteStrategy, request: OrderSeed) -> Vec<usize> {
        order(targets, strategy, request).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn each_strategy_has_its_order() {
        use Complexity::{Complex, Moderate, Simple};
        let targets = [
            facts(1, Complex, None, Some(90)),
            facts(0, Moderate, Some(50), None),
            facts(1_000_000, Simple, Some(40), Some(80)),
        ];
        for (strategy, complexity, expected) in [
            (RouteStrategy::Ordered, Simple, [0, 1, 2]),
            (RouteStrategy::Cheapest, Simple, [2, 1, 0]),
            (RouteStrategy::Fastest, Simple, [1, 2, 0]),
            (RouteStrategy::Weighted, Simple, [2, 0, 1]),
            (RouteStrategy::Experiment, Simple, [1, 0, 2]),
            (RouteStrategy::Complexity, Simple, [2, 1, 0]),
            (RouteStrategy::Complexity, Moderate, [1, 0, 2]),
            (RouteStrategy::Complexity, Complex, [0, 1, 2]),
        ] {
            assert_eq!(places(&targets, strategy, seed(complexity, 7, false)), expected, "{strategy} {complexity}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut first = [0_u32; 3];
        for seed in 0..10_000 {
            first[weighted_order(&[70, 30, 0], seed)[0]] += 1;
        }
        assert!((6_800..7_200).contains(&first[0]), "{first:?}");
        assert_eq!(first[2], 0);
        assert_eq!(weighted_order(&[0, 0], 1), [0, 1]);
        assert!(weighted_order(&[], 1).is_empty());
    }

    #[test]
    fn calls_that_stick_keep_their_target_while_latencies_are_similar() {
        let measured = |first, second| {
            [facts(1, Complexity::Simple, None, Some(first)), facts(1, Complexity::Simple, None, Some(second))]
        };
        for sticky in 0..50 {
            let request = seed(Complexity::Simple, sticky, true);
            let before = places(&measured(100, 110), RouteStrategy::Fastest, request);
            assert_eq!(places(&measured(110, 100), RouteStrategy::Fastest, request), before);
            assert_eq!(places(&measured(100, 900), RouteStrategy::Fastest, request), [0, 1]);
        }
        let loose = seed(Complexity::Simple, 1, false);
        assert_eq!(places(&measured(110, 100), RouteStrategy::Fastest, loose), [1, 0]);
    }
}
