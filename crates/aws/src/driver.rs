//! What AWS has of one kind of resource: how it is read, whose it is, and how it is created, changed and deleted.
//!
//! A file in `kinds/` implements [`Driver`] and nothing else. `observe.rs` and the provider go through
//! [`DRIVERS`](crate::kinds::DRIVERS) and name no kind; to them every driver is an [`AnyDriver`].

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, ready, try_join_all},
};
use serde::{Serialize, de::DeserializeOwned};
use trunnion_engine::{Address, Map, ProviderError, Remote, Resolved, Rules, Token, differences, to_map};

use crate::{
    Aws, Connection,
    convert::{attribute, typed},
    error::Failure,
    reading::{Reading, Whose},
};

/// A call under way, or several.
pub(crate) type Doing<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// One kind of resource in AWS.
///
/// Reading takes three round trips. In the first one, [`list`](Self::list) is called. In the second,
/// [`detail`](Self::detail) adds what the list leaves out, [`by_ids`](Self::by_ids) reads what the state knows and the list
/// does not show, and [`taken`](Self::taken) asks for names that are to be created. A detail may need a third one.
pub(crate) trait Driver: Sync + 'static {
    /// The kind's attributes.
    type Attributes: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The kind's rules.
    const RULES: Rules;
    /// What messages call one: "the ECS cluster".
    const NOUN: &'static str;
    /// The attribute that holds the name by which AWS tells one from the others.
    const NAME: &'static str = "name";
    /// The kind in whose resources those of this one lie: they are read in those that are the stack's.
    const INSIDE: Option<&'static str> = None;
    /// How many round trips [`detail`](Self::detail) takes.
    const ROUNDS: u32 = 0;
    /// Whether the list leaves out what lost its tags or moved. What is recorded and not listed is then read by its id.
    const LIST_MISSES: bool = false;

    /// Whether AWS can have given this id to one of the kind, in the account and region of the connection. A state may be
    /// damaged, and AWS refuses a whole call for one such id.
    fn can_exist(_id: &str, _connection: &Connection) -> bool {
        true
    }

    /// Everything that may be the stack's, with as much as the call says: the id at least.
    fn list(&self, _: &Reading<'_>) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// The same with all attributes. What is gone by now is left out. A kind that lies [inside](Self::INSIDE) of another one
    /// is handed those of that kind.
    fn detail(
        &self,
        _: &Reading<'_>,
        listed: Vec<Remote>,
    ) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(listed))
    }

    /// Those of these ids that are there, with all attributes, of this stack or not.
    fn by_ids(&self, _: &Aws, _: Vec<String>) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Further ids to ask for, where neither the list nor the state showed what is the stack's.
    fn further(&self, _: &Reading<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Whose one is, and at which address: by its tags, or by the state that knows its id.
    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose {
        reading.by_tags(Self::RULES.kind, remote)
    }

    /// Of several at one address, the one of the highest rank is the current one; of equals, the recorded one.
    fn rank(&self, _wanted: Option<&Map>, _: &Remote) -> u64 {
        0
    }

    /// The names that are to be created, and that the list cannot show to belong to somebody else.
    fn to_ask(&self, _: &Reading<'_>, _listed: &[Remote]) -> Vec<Wanted> {
        Vec::new()
    }

    /// Which of these names somebody else has.
    fn taken(&self, _: &Reading<'_>, _: Vec<Wanted>) -> impl Future<Output = Result<Vec<Wanted>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Creates one, or finds the one that an earlier try created and makes it as asked.
    fn create(
        &self,
        aws: &Aws,
        wanted: Self::Attributes,
        token: &Token,
    ) -> impl Future<Output = Result<Remote, Failure>> + Send;

    /// Changes the attributes at `paths` in place.
    fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        wanted: Self::Attributes,
        paths: &[String],
    ) -> impl Future<Output = Result<Remote, Failure>> + Send;

    /// Deletes one; one that is gone already counts as deleted.
    fn delete(&self, aws: &Aws, remote: &Remote) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Creates several, each with a future of its own: one by one, where AWS takes no list.
    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Self::Attributes, Token)>) -> Vec<Doing<'a, Remote>> {
        let create = |(wanted, token)| async move { self.create(aws, wanted, &token).await }.boxed();
        items.into_iter().map(create).collect()
    }

    /// Changes several in the same way.
    fn update_all<'a>(
        &'a self,
        aws: &'a Aws,
        items: Vec<(Remote, Self::Attributes, Vec<String>)>,
    ) -> Vec<Doing<'a, Remote>> {
        let update = |(remote, wanted, paths): (Remote, _, Vec<_>)| {
            async move { self.update(aws, &remote, wanted, &paths).await }.boxed()
        };
        items.into_iter().map(update).collect()
    }

    /// Deletes several in the same way.
    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>> {
        let delete = |remote| async move { self.delete(aws, &remote).await }.boxed();
        items.into_iter().map(delete).collect()
    }

    /// Makes one that a create found as asked. What differs is for the kind's rules to say: what they tolerate stays.
    fn adopt(
        &self,
        aws: &Aws,
        found: &Remote,
        wanted: Self::Attributes,
    ) -> impl Future<Output = Result<Remote, Failure>> + Send {
        async move {
            let paths = differing(&Self::RULES, &wanted, found)?;
            self.update(aws, found, wanted, &paths).await
        }
    }

    /// The failure of a create that met somebody else's.
    fn foreign(name: &str) -> Failure {
        Failure::foreign(Self::NOUN, name)
    }
}

/// The paths at which something differs from what is wanted, by the rules of its kind.
pub(crate) fn differing(rules: &Rules, wanted: &impl Serialize, found: &Remote) -> Result<Vec<String>, Failure> {
    let wanted = to_map(wanted).map_err(|error| Failure::own(error.to_string(), None))?;
    Ok(differences(rules, &wanted, &found.attributes).into_iter().map(|difference| difference.path).collect())
}

/// One call for a list: each item of the list waits for its end.
pub(crate) fn one_call<'a, T: Clone + Send + Sync + 'a>(
    call: impl Future<Output = Result<T, Failure>> + Send + 'a,
) -> Shared<Doing<'a, T>> {
    call.boxed().shared()
}

/// What several calls find, made at the same time.
pub(crate) async fn all<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
    calls: impl Iterator<Item = F>,
) -> Result<Vec<T>, Failure> {
    Ok(try_join_all(calls.map(Box::pin)).await?.into_iter().flatten().collect())
}

/// A name that the stack wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of what.
    pub address: Address,
    /// The name.
    pub name: String,
}

/// Any driver: what [`Driver`] says, without its types.
pub(crate) trait AnyDriver: Sync {
    fn rules(&self) -> Rules;
    fn name_of<'m>(&self, attributes: &'m Map) -> &'m str;
    fn inside(&self) -> Option<&'static str>;
    fn rounds(&self) -> u32;
    fn list_misses(&self) -> bool;
    fn can_exist(&self, id: &str, connection: &Connection) -> bool;
    fn list<'a>(&'a self, reading: &'a Reading<'a>) -> Doing<'a, Vec<Remote>>;
    fn detail<'a>(&'a self, reading: &'a Reading<'a>, listed: Vec<Remote>) -> Doing<'a, Vec<Remote>>;
    fn by_ids<'a>(&'a self, aws: &'a Aws, ids: Vec<String>) -> Doing<'a, Vec<Remote>>;
    fn further(&self, reading: &Reading<'_>) -> Vec<String>;
    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose;
    fn rank(&self, wanted: Option<&Map>, remote: &Remote) -> u64;
    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted>;
    fn taken<'a>(&'a self, reading: &'a Reading<'a>, names: Vec<Wanted>) -> Doing<'a, Vec<Wanted>>;
    fn foreign(&self, wanted: &Wanted) -> ProviderError;
    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Resolved, Token)>) -> Vec<Doing<'a, Remote>>;
    fn update_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Remote, Resolved, Vec<String>)>) -> Vec<Doing<'a, Remote>>;
    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>>;
}

impl<D: Driver> AnyDriver for D {
    fn rules(&self) -> Rules {
        D::RULES
    }

    fn name_of<'m>(&self, attributes: &'m Map) -> &'m str {
        attribute(attributes, D::NAME)
    }

    fn inside(&self) -> Option<&'static str> {
        D::INSIDE
    }

    fn rounds(&self) -> u32 {
        D::ROUNDS
    }

    fn list_misses(&self) -> bool {
        D::LIST_MISSES
    }

    fn can_exist(&self, id: &str, connection: &Connection) -> bool {
        D::can_exist(id, connection)
    }

    fn list<'a>(&'a self, reading: &'a Reading<'a>) -> Doing<'a, Vec<Remote>> {
        Driver::list(self, reading).boxed()
    }

    fn detail<'a>(&'a self, reading: &'a Reading<'a>, listed: Vec<Remote>) -> Doing<'a, Vec<Remote>> {
        Driver::detail(self, reading, listed).boxed()
    }

    fn by_ids<'a>(&'a self, aws: &'a Aws, ids: Vec<String>) -> Doing<'a, Vec<Remote>> {
        Driver::by_ids(self, aws, ids).boxed()
    }

    fn further(&self, reading: &Reading<'_>) -> Vec<String> {
        Driver::further(self, reading)
    }

    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose {
        Driver::whose(self, reading, remote)
    }

    fn rank(&self, wanted: Option<&Map>, remote: &Remote) -> u64 {
        Driver::rank(self, wanted, remote)
    }

    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        Driver::to_ask(self, reading, listed)
    }

    fn taken<'a>(&'a self, reading: &'a Reading<'a>, names: Vec<Wanted>) -> Doing<'a, Vec<Wanted>> {
        Driver::taken(self, reading, names).boxed()
    }

    fn foreign(&self, wanted: &Wanted) -> ProviderError {
        <D as Driver>::foreign(&wanted.name).about(&format!("`{}`", wanted.address))
    }

    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Resolved, Token)>) -> Vec<Doing<'a, Remote>> {
        let decoded = items.into_iter().map(|(resource, token)| Ok((typed(&resource.attributes)?, token)));
        each(decoded, |items| Driver::create_all(self, aws, items))
    }

    fn update_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Remote, Resolved, Vec<String>)>) -> Vec<Doing<'a, Remote>> {
        let decoded =
            items.into_iter().map(|(remote, resource, paths)| Ok((remote, typed(&resource.attributes)?, paths)));
        each(decoded, |items| Driver::update_all(self, aws, items))
    }

    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>> {
        Driver::delete_all(self, aws, items)
    }
}

/// Hands over what could be decoded as one list; the others fail by themselves.
fn each<'a, T, R: Send + 'a>(
    decoded: impl Iterator<Item = Result<T, Failure>>,
    call: impl FnOnce(Vec<T>) -> Vec<Doing<'a, R>>,
) -> Vec<Doing<'a, R>> {
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for item in decoded {
        let failure = item.map(|item| items.push(item)).err();
        failures.push(failure);
    }
    let mut called = call(items).into_iter();
    let missing = || Failure::own("the list of calls is shorter than the list of resources", None);
    let doing = |failure: Option<Failure>| match failure {
        Some(failure) => ready(Err(failure)).boxed(),
        None => called.next().unwrap_or_else(|| ready(Err(missing())).boxed()),
    };
    failures.into_iter().map(doing).collect()
}
