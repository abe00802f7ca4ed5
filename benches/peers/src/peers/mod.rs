pub mod bm;
pub mod sl;
pub mod ours;
use crate::contender::{Bm, Contender, Wrap};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Wrap::<ours::Ours3>::boxed(),
        Wrap::<ours::Ours5>::boxed(),
        Wrap::<sl::Floor3>::boxed(),
        Wrap::<sl::Rs>::boxed(),
        Wrap::<sl::Mf>::boxed(),
        Wrap::<Bm<bm::Mb4>>::boxed(),
        Wrap::<Bm<bm::Ru4>>::boxed(),
        Wrap::<Bm<bm::Rn4>>::boxed(),
        Wrap::<sl::Nt3>::boxed(),
        Wrap::<sl::Pc3>::boxed(),
        Wrap::<sl::Pi3>::boxed(),
        Wrap::<sl::Kit3>::boxed(),
        Wrap::<sl::Mp3>::boxed(),
        Wrap::<Bm<bm::Rm3>>::boxed(),
        Wrap::<Bm<bm::Mu4>>::boxed(),
        Wrap::<Bm<bm::M53>>::boxed(),
        Wrap::<sl::Fl3>::boxed(),
        Wrap::<Bm<bm::Mc3>>::boxed(),
        Wrap::<sl::Floor5>::boxed(),
        Wrap::<Bm<bm::Mb5>>::boxed(),
        Wrap::<Bm<bm::Ru5>>::boxed(),
        Wrap::<Bm<bm::Rn5>>::boxed(),
        Wrap::<sl::Nt5>::boxed(),
        Wrap::<sl::Pc5>::boxed(),
        Wrap::<sl::Pi5>::boxed(),
        Wrap::<sl::Kit5>::boxed(),
        Wrap::<sl::Mp5>::boxed(),
        Wrap::<Bm<bm::Rm5>>::boxed(),
        Wrap::<Bm<bm::Mu5>>::boxed(),
        Wrap::<Bm<bm::M55>>::boxed(),
        Wrap::<sl::Fl5>::boxed(),
        Wrap::<Bm<bm::Mc5>>::boxed(),
    ]
}
