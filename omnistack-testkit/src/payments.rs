//! Wire fakes of payment providers: HTTP servers that behave as the APIs of the providers do, for tests of the clients
//! in `omnistack-payments` and for the providers' own clients.

pub mod paypal;
mod query;
pub mod razorpay;
pub mod stripe;
