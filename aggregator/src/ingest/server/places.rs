//! Places for connections. Agents have theirs, which no stranger can take; strangers have few, and from one address fewer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Limits;

/// The places, and who has taken how many.
#[derive(Debug)]
pub(super) struct Places {
    agents_max: usize,
    strangers_max: usize,
    address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    agents: usize,
    strangers: usize,
    /// Strangers by where they come from.
    addresses: HashMap<IpAddr, usize>,
}

/// One connection's place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    holder: Holder,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    Stranger(IpAddr),
    Agent,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            agents_max: limits.connections_max,
            strangers_max: limits.strangers_max,
            address_max: limits.strangers_of_address_max,
            taken: Mutex::default(),
        }
    }

    /// A place for whoever comes from `address`; `None` when strangers have taken theirs.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let origin = origin(address);
        let mut taken = self.taken();
        let from_there = taken.addresses.get(&origin).copied().unwrap_or(0);
        if taken.strangers >= self.strangers_max || from_there >= self.address_max {
            return None;
        }
        taken.strangers += 1;
        taken.addresses.insert(origin, from_there + 1);
        Some(Place { places: Arc::clone(self), holder: Holder::Stranger(origin) })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It is an agent's from now on, and leaves a stranger's place free; false when agents have taken all of theirs.
    pub(super) fn becomes_agents(&mut self) -> bool {
        let Holder::Stranger(origin) = self.holder else { return true };
        let mut taken = self.places.taken();
        if taken.agents >= self.places.agents_max {
            return false;
        }
        taken.agents += 1;
        taken.leave(origin);
        self.holder = Holder::Agent;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match self.holder {
            Holder::Stranger(origin) => taken.leave(origin),
            Holder::Agent => taken.agents -= 1,
        }
    }
}

impl Taken {
    fn leave(&mut self, origin: IpAddr) {
        self.strangers -= 1;
        if let Some(from_there) = self.addresses.get_mut(&origin) {
            *from_there -= 1;
            if *from_there == 0 {
                self.addresses.remove(&origin);
            }
        }
    }
}

/// Whom an address stands for: of IPv6 a whole /64, which is what one machine has to itself.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Arc<Places> {
        let limits = Limits { connections_max: 2, strangers_max: 3, strangers_of_address_max: 2, ..Limits::default() };
        Arc::new(Places::new(&limits))
    }

    fn from(places: &Arc<Places>, address: &str) -> Option<Place> {
        places.take(address.parse().expect("an address"))
    }

    #[test]
    fn strangers_have_few_places_and_of_one_address_fewer() {
        let places = places();
        let one = from(&places, "10.0.0.1").expect("the first");
        let _two = from(&places, "::ffff:10.0.0.1").expect("the second");
        assert!(from(&places, "10.0.0.1").is_none());
        let _three = from(&places, "10.0.0.2").expect("of another address");
        assert!(from(&places, "10.0.0.3").is_none(), "of no address is there room");
        drop(one);
        from(&places, "10.0.0.1").expect("one has left");
    }

    #[test]
    fn one_machine_cannot_be_many_by_its_addresses() {
        let places = places();
        let _held = [from(&places, "fd00::1"), from(&places, "fd00::2")].map(|it| it.expect("there is room"));
        assert!(from(&places, "fd00::3").is_none());
        from(&places, "fd00:0:0:1::1").expect("another machine's");
    }

    #[test]
    fn agents_have_places_that_strangers_leave_alone() {
        let places = places();
        let mut agents = Vec::new();
        for _ in 0..2 {
            let mut place = from(&places, "10.0.0.1").expect("a stranger's");
            assert!(place.becomes_agents() && place.becomes_agents());
            agents.push(place);
        }
        let mut third = from(&places, "10.0.0.1").expect("a stranger's");
        assert!(!third.becomes_agents(), "agents have theirs");
        agents.pop();
        assert!(third.becomes_agents());
        drop((agents, third));
        let taken = places.taken();
        assert_eq!((taken.agents, taken.strangers, taken.addresses.len()), (0, 0, 0));
    }
}
