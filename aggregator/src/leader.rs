//! Leadership: of several aggregators one leads, and the others stand by.

pub mod election;
