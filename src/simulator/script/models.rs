//! The models that agents call, what they cost in nano-dollars, and running totals.

/// A model with its prices.
#[derive(Debug, PartialEq)]
pub(in crate::simulator) struct Model {
    pub(in crate::simulator) name: &'static str,
    /// Nano-dollars per token of input, output and reasoning; a model without prices has unknown cost.
    pub(in crate::simulator) prices: Option<Prices>,
}

/// Nano-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::simulator) struct Prices {
    pub(in crate::simulator) input: u64,
    pub(in crate::simulator) output: u64,
    pub(in crate::simulator) reasoning: u64,
}

/// All models.
pub(in crate::simulator) const MODELS: [Model; 3] = [
    Model { name: "holo3-1-35b-a3b", prices: Some(Prices { input: 250, output: 1_800, reasoning: 0 }) },
    Model { name: "holo3-122b-a10b", prices: Some(Prices { input: 400, output: 3_000, reasoning: 3_000 }) },
    Model { name: "custom-model", prices: None },
];

/// One model call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::simulator) struct Charge {
    pub(in crate::simulator) at: i64,
    /// Index into [`MODELS`].
    pub(in crate::simulator) model: usize,
    /// All prompt tokens, those from the cache included.
    pub(in crate::simulator) input: u32,
    pub(in crate::simulator) cached: u32,
    pub(in crate::simulator) output: u32,
    pub(in crate::simulator) reasoning: u32,
    /// Whether this call decided a step; a second call in the same step does not.
    pub(in crate::simulator) step: bool,
}

/// Running totals of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::simulator) struct ModelTotals {
    pub(in crate::simulator) input: u64,
    pub(in crate::simulator) cached: u64,
    pub(in crate::simulator) output: u64,
    pub(in crate::simulator) reasoning: u64,
}

impl ModelTotals {
    /// Nano-dollars for input, output and reasoning, when the model has prices.
    pub(in crate::simulator) fn cost(&self, model: &Model) -> Option<[u64; 3]> {
        let prices = model.prices?;
        Some([self.input * prices.input, self.output * prices.output, self.reasoning * prices.reasoning])
    }
}

/// A session's running totals, models in the order of their first call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::simulator) struct Totals {
    pub(in crate::simulator) steps: u64,
    pub(in crate::simulator) models: Vec<(usize, ModelTotals)>,
}

impl Totals {
    /// Adds one call.
    pub(in crate::simulator) fn add(&mut self, charge: &Charge) {
        self.steps += u64::from(charge.step);
        let known = self.models.iter().position(|(model, _)| *model == charge.model);
        let index = known.unwrap_or_else(|| {
            self.models.push((charge.model, ModelTotals::default()));
            self.models.len() - 1
        });
        let totals = &mut self.models[index].1;
        totals.input += u64::from(charge.input);
        totals.cached += u64::from(charge.cached);
        totals.output += u64::from(charge.output);
        totals.reasoning += u64::from(charge.reasoning);
    }

    /// Sums of nano-dollars for input, output and reasoning; unknown as soon as one model has no prices or none was called.
    pub(in crate::simulator) fn cost(&self) -> Option<[u64; 3]> {
        if self.models.is_empty() {
            return None;
        }
        let mut sum = [0; 3];
        for (model, totals) in &self.models {
            let cost = totals.cost(&MODELS[*model])?;
            for (total, part) in sum.iter_mut().zip(cost) {
                *total += part;
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unpriced_model_makes_the_sum_unknown() {
        let mut totals = Totals::default();
        let call = Charge { at: 0, model: 0, input: 10_583, cached: 0, output: 153, reasoning: 0, step: true };
        totals.add(&call);
        assert_eq!(totals.cost(), Some([2_645_750, 275_400, 0]));
        totals.add(&Charge { model: 2, step: false, ..call });
        assert_eq!((totals.cost(), totals.steps), (None, 1));
    }
}
