// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ModelShare} from "./ModelShare.sol";

/// @title Where earnings become shares
/// @notice Enters: for each epoch of a run one root of a tree of what every wallet has earned since the run began.
/// Leaves: shares, minted to the wallet that a leaf names. Refuses: a root before its time, a second one for an
/// epoch, more than the caps of all epochs so far, a claim before the root's delay is over, and one on a vetoed root.
/// @dev All rights are fixed at deployment: the submitter may submit, the guardian may veto a root that does not count
/// yet, and nobody may do more. A vetoed epoch stays empty; since leaves are cumulative, the next epoch's root carries
/// what was due for it.
contract EpochDistributor {
    /// @notice What was submitted for an epoch.
    struct Epoch {
        /// @notice Root of the payout tree; zero before it is submitted.
        bytes32 root;
        /// @notice Root of the run's log, as it was when the epoch closed.
        bytes32 log;
        /// @notice Hash of the published list of payouts.
        bytes32 data;
        /// @notice Sum of all leaves.
        uint128 total;
        /// @notice When claims begin, in seconds since 1970.
        uint64 countsFrom;
        /// @notice Whether the guardian refused it. Then it never counts.
        bool vetoed;
    }

    /// @notice What a deployment fixes.
    struct Terms {
        /// @notice The run whose work is paid.
        bytes32 run;
        /// @notice Who submits roots.
        address submitter;
        /// @notice Who vetoes them.
        address guardian;
        /// @notice The most that one epoch adds to the shares.
        uint128 cap;
        /// @notice Rounds of the run that make an epoch.
        uint64 rounds;
        /// @notice Seconds from one epoch's earliest submission to the next one's.
        uint64 period;
        /// @notice Seconds from a root's submission until it counts.
        uint64 delay;
    }

    /// @notice The shares, which this contract deployed.
    ModelShare public immutable share;

    /// @notice When epoch 0 can be submitted, in seconds since 1970.
    uint64 public immutable start;

    bytes32 public immutable run;
    address public immutable submitter;
    address public immutable guardian;
    uint128 public immutable cap;
    uint64 public immutable rounds;
    uint64 public immutable period;
    uint64 public immutable delay;

    /// @notice The epoch that is submitted next.
    uint64 public next;

    /// @notice What was ever minted.
    uint256 public minted;

    /// @notice What an account was ever minted.
    mapping(address account => uint256) public claimed;

    mapping(uint256 number => Epoch) private _epochs;

    /// @notice A root was submitted and counts after the delay, if it is not vetoed.
    event Submitted(uint64 indexed epoch, bytes32 root, bytes32 log, bytes32 data, uint128 total, uint64 countsFrom);

    /// @notice The guardian refused a root.
    event Vetoed(uint64 indexed epoch);

    /// @notice An account got shares.
    event Claimed(address indexed account, uint64 indexed epoch, uint256 amount, uint256 cumulative);

    /// @notice The terms make no sense.
    error BadTerms();

    /// @notice Only the submitter submits.
    error OnlySubmitter();

    /// @notice Only the guardian vetoes.
    error OnlyGuardian();

    /// @notice Epochs are submitted once, one after the other: this one was before, or an earlier one was not.
    error WrongEpoch(uint64 next);

    /// @notice The epoch can be submitted from this time on.
    error TooEarly(uint256 from);

    /// @notice The sum is more than the caps of all epochs up to this one.
    error OverCap(uint256 most);

    /// @notice A tree has a root.
    error NoRoot();

    /// @notice The root counts already, was vetoed before, or does not exist: nothing to veto.
    error NothingToVeto();

    /// @notice The root of this epoch does not count: not yet, not any more, or it does not exist.
    error NotCounting();

    /// @notice The proof does not lead from this account and sum to the epoch's root.
    error WrongProof();

    /// @notice The account was minted all of it before.
    error NothingDue();

    /// @notice The leaves of the root are more than its sum.
    error OverTotal();

    constructor(string memory name, string memory symbol, Terms memory terms) {
        // A guardian who is also the submitter guards nothing, and without a delay there is no time to veto.
        bool guarded = terms.guardian != address(0) && terms.guardian != terms.submitter && terms.delay != 0;
        if (!guarded || terms.submitter == address(0) || terms.run == 0) revert BadTerms();
        if (terms.cap == 0 || terms.rounds == 0 || terms.period == 0) revert BadTerms();
        run = terms.run;
        submitter = terms.submitter;
        guardian = terms.guardian;
        cap = terms.cap;
        rounds = terms.rounds;
        period = terms.period;
        delay = terms.delay;
        start = uint64(block.timestamp);
        share = new ModelShare(name, symbol);
    }

    /// @notice What was submitted for an epoch.
    function epochs(uint64 number) external view returns (Epoch memory) {
        return _epochs[number];
    }

    /// @notice Submits the next epoch's root.
    function submit(uint64 number, bytes32 root, bytes32 log, bytes32 data, uint128 total) external {
        if (msg.sender != submitter) revert OnlySubmitter();
        if (number != next) revert WrongEpoch(next);
        if (root == 0) revert NoRoot();
        // By time, so that the caps bound what a stolen key can mint, too.
        uint256 from = start + uint256(number) * period;
        if (block.timestamp < from) revert TooEarly(from);
        uint256 most = uint256(cap) * (uint256(number) + 1);
        if (total > most) revert OverCap(most);
        uint64 countsFrom = uint64(block.timestamp) + delay;
        _epochs[number] = Epoch(root, log, data, total, countsFrom, false);
        next = number + 1;
        emit Submitted(number, root, log, data, total, countsFrom);
    }

    /// @notice Refuses a root that does not count yet, for good.
    function veto(uint64 number) external {
        if (msg.sender != guardian) revert OnlyGuardian();
        Epoch storage epoch = _epochs[number];
        if (epoch.root == 0 || epoch.vetoed || block.timestamp >= epoch.countsFrom) revert NothingToVeto();
        epoch.vetoed = true;
        emit Vetoed(number);
    }

    /// @notice Mints to an account what it has earned up to an epoch and was not minted yet. Anyone may call this; the
    /// shares go to the account and to nobody else.
    /// @param cumulative What the account has earned since the run began, as its leaf says.
    function claim(uint64 number, address account, uint256 cumulative, bytes32[] calldata proof)
        external
        returns (uint256 amount)
    {
        Epoch storage epoch = _epochs[number];
        if (epoch.root == 0 || epoch.vetoed || block.timestamp < epoch.countsFrom) revert NotCounting();
        if (!MerkleProof.verifyCalldata(proof, epoch.root, leaf(account, cumulative))) revert WrongProof();
        uint256 before = claimed[account];
        if (cumulative <= before) revert NothingDue();
        amount = cumulative - before;
        // Whoever claims on an older root than others did may find its sum used up; the newest has room for all.
        if (minted + amount > epoch.total) revert OverTotal();
        claimed[account] = cumulative;
        minted += amount;
        emit Claimed(account, number, amount, cumulative);
        share.mint(account, amount);
    }

    /// @notice The leaf of an account, hashed twice so that no inner node can pass for one. Chain and contract stand
    /// in it, so that a proof is good here only.
    function leaf(address account, uint256 cumulative) public view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(block.chainid, address(this), account, cumulative))));
    }
}
